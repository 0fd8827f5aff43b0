"""From decoded tokens to words with times: the same rules for CTC, RNNT and TDT.

Here live no tensors and no toolkit: a decoder (`nemo_decode.py`) says which token was found in which frames, and this
module says which words those are. NeMo computes word times too, but for CTC it starts a token where the one before it
began (a pause would belong to the next word), and its lists of words and of confidences can differ in length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from transcription_worker.transcript import Word

Style = Literal["characters", "sentencepiece", "wordpiece"]

WORD_START = "\u2581"
"""SentencePiece's mark of a space before a piece (Kudo & Richardson, 2018)."""


@dataclass(frozen=True, slots=True)
class Token:
    """One decoded token in encoder frames, `start` inclusive, `end` exclusive; `confidence` in 0..1 or None."""

    id: int
    start: int
    end: int
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a model's tokens mean.

    Attributes:
        pieces: token id -> its piece, as the tokenizer writes it.
        style: how a piece says that a word begins.
        punctuation: characters that belong to the word before them.
        decode: token ids -> text, the tokenizer's own way.
    """

    pieces: Sequence[str]
    style: Style
    punctuation: frozenset[str]
    decode: Callable[[list[int]], str]

    def group(self, tokens: Sequence[Token]) -> list[tuple[str, list[Token]]]:
        """Split tokens into words: the text of each and its tokens; `' '.join` of the texts is the whole text."""
        text = " ".join(self.decode([token.id for token in tokens]).split())
        groups = self._by_marks(tokens)
        if " ".join(word for word, _ in groups) != text:
            groups = self._by_prefixes(tokens)
        return groups

    def is_punctuation(self, token: Token) -> bool:
        content = self._content(self.pieces[token.id])
        return bool(content) and all(character in self.punctuation for character in content)

    def _content(self, piece: str) -> str:
        if self.style == "characters":
            return piece.strip()
        if self.style == "wordpiece":
            return piece.removeprefix("##")
        return piece.replace(WORD_START, "")

    def _starts_word(self, piece: str) -> bool:
        if self.style == "characters":
            return piece.isspace()
        if self.style == "wordpiece":
            return not piece.startswith("##")
        return piece.startswith(WORD_START)

    def _by_marks(self, tokens: Sequence[Token]) -> list[tuple[str, list[Token]]]:
        words: list[tuple[str, list[Token]]] = []
        for token in tokens:
            piece = self.pieces[token.id]
            content = self._content(piece)
            if words and not words[-1][0] and content[:1] in self.punctuation and len(words) > 1:
                words.pop()  # a lone space before punctuation
            if not words or (self._starts_word(piece) and content[:1] not in self.punctuation):
                if words and not words[-1][0]:
                    words.pop()
                words.append((content, [token] if content or self.style == "sentencepiece" else []))
            else:
                text, members = words[-1]
                words[-1] = (text + content, [*members, token])
        return [(text, members) for text, members in words if text]

    def _by_prefixes(self, tokens: Sequence[Token]) -> list[tuple[str, list[Token]]]:
        """For tokenizers whose text is not the sum of their pieces (bytes, unknown pieces): decode every prefix.

        Quadratic, and taken only where the quick way disagrees with the tokenizer.
        """
        ids = [token.id for token in tokens]
        words = self.decode(ids).split()
        members: list[list[Token]] = [[] for _ in words]
        for count, token in enumerate(tokens, 1):
            so_far = len(self.decode(ids[:count]).split())
            if words:
                members[min(max(so_far, 1), len(words)) - 1].append(token)
        return list(zip(words, members, strict=True))


def words_of(
    tokens: Sequence[Token], vocabulary: Vocabulary, *, frame_seconds: float, duration: float
) -> tuple[Word, ...]:
    """Words in order, without overlap, inside 0..duration.

    A word lasts from its first to its last token; punctuation, which models write long after the word, counts for
    neither times nor confidence unless the word has nothing else. The confidence is that of the least certain token.

    Args:
        frame_seconds: how long an encoder frame is.
        duration: seconds of the input.
    """
    words: list[Word] = []
    at = 0.0
    for text, members in vocabulary.group(tokens):
        spoken = [token for token in members if not vocabulary.is_punctuation(token)] or members
        start = min(max((spoken[0].start * frame_seconds if spoken else at), at), duration)
        end = min(max((spoken[-1].end * frame_seconds if spoken else at), start), duration)
        known = [token.confidence for token in spoken if token.confidence is not None]
        if words and words[-1].end > start:
            words[-1] = Word(words[-1].text, words[-1].start, start, words[-1].confidence)
        words.append(Word(text, start, end, min(known) if known else None))
        at = start
    return tuple(words)
