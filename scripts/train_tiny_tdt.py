"""Train `examples/models/tiny-tdt.nemo`: a real FastConformer-TDT of sixteen words, in some minutes on a CPU.

    python -m scripts.train_tiny_tdt

The same family as NVIDIA's Parakeet, made small: a FastConformer encoder (Rekesh et al. 2023, arXiv:2305.05084) with
eightfold subsampling, and a token-and-duration transducer (Xu et al. 2023, arXiv:2304.06795) over BPE pieces. What it
is trained on lives in `tiny_speech.py`, the training itself in `tiny_training.py`. The loss stands here because both
of NeMo's need CUDA.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from torch.nn import functional

from scripts.tiny_speech import SAMPLE_RATE, TRAINING, WORDS, Utterance, make_utterances
from scripts.tiny_training import (
    HOP,
    FeatureBatch,
    be_deterministic,
    fit,
    make_batches,
    training_arguments,
    write_model,
)

SUBSAMPLING = 8
FRAME = SUBSAMPLING * HOP
"""Samples of one encoder frame: 80 ms."""
DURATIONS = (0, 1, 2, 3, 4)
"""Encoder frames that a token or a blank may last."""
UNDERNORMALIZATION = 0.02
"""Sigma of the TDT paper: taken off every label's log-probability, so that longer durations are preferred."""
PIECES = 32
MEL_BANDS = 80
WIDTH = 64
LAYERS = 2
WORST_ERROR_RATE = 0.02

IMPOSSIBLE = -1e4
UNWANTED = -60.0
"""Log-probability added to arcs that contradict the known word times: finite, so that gradients stay so too."""


@dataclass(frozen=True, slots=True)
class TdtBatch:
    """A batch with its tokens.

    Attributes:
        speech: B utterances.
        tokens: [B, U] int64, padded with zeros.
        counts: [B] tokens of each utterance.
        wanted: [B, T, U + 1, D] bool: may token u be said from frame t with duration d?
    """

    speech: FeatureBatch
    tokens: torch.Tensor
    counts: torch.Tensor
    wanted: torch.Tensor


def tdt_loss(
    logits: torch.Tensor,
    tokens: torch.Tensor,
    frames: torch.Tensor,
    counts: torch.Tensor,
    wanted: torch.Tensor | None = None,
) -> torch.Tensor:
    """Negative log-likelihood of the tokens, summed over all alignments (equation 5 of Xu et al. 2023).

    A token moves the alignment one token on and 0 to 4 frames, a blank 1 to 4 frames; the last blank must land on the
    end. Forward variables only; the gradient is autograd's.

    Args:
        logits: [B, T, U + 1, V + 1 + D], raw; blank is the last label, the durations follow it.
        tokens: [B, U] int64.
        frames: [B] valid frames.
        counts: [B] valid tokens.
        wanted: [B, T, U + 1, D] bool, see TdtBatch; all arcs where None.

    Returns:
        [B] losses.
    """
    batch, time, states, _ = logits.shape
    labels = logits[..., : -len(DURATIONS)].log_softmax(-1) - UNDERNORMALIZATION
    durations = logits[..., -len(DURATIONS) :].log_softmax(-1)
    next_token = functional.pad(tokens, (0, states - tokens.shape[1]))[:, None, :, None].expand(-1, time, -1, 1)
    say = labels.gather(-1, next_token) + durations
    if wanted is not None:
        say = say + UNWANTED * ~wanted
    wait = labels[..., -1:] + durations

    start = torch.full((batch, states), IMPOSSIBLE)
    start[:, 0] = 0.0
    nothing_said = torch.full((batch, 1), IMPOSSIBLE)
    reached: list[torch.Tensor] = []
    for now in range(time):
        arrivals = [start] if now == 0 else []
        for index, length in enumerate(DURATIONS):
            if 0 < length <= now:
                origin = now - length
                arrivals.append(reached[origin] + wait[:, origin, :, index])
                said = reached[origin] + say[:, origin, :, index]
                arrivals.append(torch.cat([nothing_said, said[:, :-1]], dim=1))
        arrived = torch.logsumexp(torch.stack(arrivals), dim=0)
        # Tokens of duration 0 chain in one frame, r[u] = logaddexp(arrived[u], r[u - 1] + say[u - 1]): in closed form.
        chain = functional.pad(say[:, now, :-1, DURATIONS.index(0)].cumsum(dim=1), (1, 0))
        reached.append(chain + torch.logcumsumexp(arrived - chain, dim=1))

    losses = []
    for row, (end, count) in enumerate(zip(frames.tolist(), counts.tolist(), strict=True)):
        last = [
            reached[end - length][row, count] + wait[row, end - length, count, index]
            for index, length in enumerate(DURATIONS)
            if 0 < length <= end
        ]
        losses.append(-torch.logsumexp(torch.stack(last), dim=0))
    return torch.stack(losses)


def word_edges(utterance: Utterance, pieces: list[str], lead: int, time: int, states: int) -> torch.Tensor:
    """Hold words to the times at which they were spoken, where these are known, to within one frame.

    A word's first piece has to start with the word and its last piece to end with it. A transducer is otherwise free
    to say a word whenever it likes after hearing it, and a small one does: its word times would be worthless.

    Returns:
        [time, states, D] bool for TdtBatch.wanted.
    """
    wanted = torch.ones((time, states, len(DURATIONS)), dtype=torch.bool)
    if utterance.spans is None:
        return wanted
    begins = torch.arange(time)[:, None]
    ends = begins + torch.tensor(DURATIONS)
    opens = [piece.startswith("\u2581") for piece in pieces]
    closes = [*opens[1:], True]
    word = -1
    for state, (first, last) in enumerate(zip(opens, closes, strict=True)):
        word += first
        start, end = ((edge + lead) / FRAME for edge in utterance.spans[word])
        if first:
            wanted[:, state] &= (begins - start).abs() <= 1
        if last:
            wanted[:, state] &= (ends - end).abs() <= 1
    return wanted


def with_tokens(batch: FeatureBatch, tokenizer: Any) -> TdtBatch:
    tokens = [torch.tensor(tokenizer.text_to_ids(u.text)) for u in batch.utterances]
    counts = torch.tensor([len(t) for t in tokens])
    time, states = batch.features.shape[2] // SUBSAMPLING + 1, int(counts.max()) + 1
    wanted = [
        word_edges(u, tokenizer.text_to_tokens(u.text), lead, time, states)
        for u, lead in zip(batch.utterances, batch.leads, strict=True)
    ]
    padded = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
    return TdtBatch(batch, padded, counts, torch.stack(wanted))


def loss_per_token(model: Any, batch: TdtBatch) -> torch.Tensor:
    encoded, frames = model.encoder(audio_signal=batch.speech.features, length=batch.speech.lengths)
    predicted, *_ = model.decoder(targets=batch.tokens, target_length=batch.counts)
    logits = model.joint(encoder_outputs=encoded, decoder_outputs=predicted)
    losses = tdt_loss(logits, batch.tokens, frames, batch.counts, batch.wanted[:, : logits.shape[1]])
    return (losses / batch.counts).mean()


def train_tokenizer(folder: Path, words: Sequence[str] = WORDS * 50, pieces: int = PIECES) -> None:
    """BPE pieces of the words, in the three files of a NeMo tokenizer folder (Unicode tables left out: 240 kB)."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words),
        model_writer=model,
        model_type="bpe",
        normalization_rule_name="identity",
        vocab_size=pieces,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    learnt = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    (folder / "vocab.txt").write_text("".join(f"{p}\n" for p in learnt[1:]), encoding="utf-8")
    (folder / "tokenizer.vocab").write_text("".join(f"{p}\t0\n" for p in learnt), encoding="utf-8")


def configuration(tokenizer: Path) -> dict[str, Any]:
    """The layout of NVIDIA's published FastConformer-TDT BPE configuration, with small sizes.

    `validation_ds`, `pos_emb_max_len` and `dropout_att` are what NeMo asks of a model that transcribes files and whose
    attention can be made local.
    """
    modules = "nemo.collections.asr.modules."
    durations = list(DURATIONS)
    return {
        "sample_rate": SAMPLE_RATE,
        "labels": [],
        "tokenizer": {"dir": str(tokenizer), "type": "bpe"},
        "model_defaults": {
            "enc_hidden": WIDTH,
            "pred_hidden": WIDTH,
            "joint_hidden": WIDTH,
            "tdt_durations": durations,
            "num_tdt_durations": len(durations),
        },
        "preprocessor": {
            "_target_": modules + "AudioToMelSpectrogramPreprocessor",
            "sample_rate": SAMPLE_RATE,
            "window_size": 0.025,
            "window_stride": HOP / SAMPLE_RATE,
            "window": "hann",
            "n_fft": 512,
            "features": MEL_BANDS,
            "normalize": "per_feature",
            "pad_to": 0,
        },
        "encoder": {
            "_target_": modules + "ConformerEncoder",
            "feat_in": MEL_BANDS,
            "n_layers": LAYERS,
            "d_model": WIDTH,
            "n_heads": 4,
            "ff_expansion_factor": 4,
            "conv_kernel_size": 9,
            "subsampling": "dw_striding",
            "subsampling_factor": SUBSAMPLING,
            "subsampling_conv_channels": WIDTH,
            "self_attention_model": "rel_pos",
            "att_context_size": [-1, -1],
            "xscaling": False,
            "pos_emb_max_len": 5000,
            "dropout": 0.05,
            "dropout_emb": 0.0,
            "dropout_att": 0.0,
        },
        "decoder": {
            "_target_": modules + "RNNTDecoder",
            "prednet": {"pred_hidden": WIDTH, "pred_rnn_layers": 1, "dropout": 0.1},
        },
        "joint": {
            "_target_": modules + "RNNTJoint",
            "fuse_loss_wer": False,
            "num_extra_outputs": len(durations),
            "jointnet": {"joint_hidden": WIDTH, "activation": "relu", "dropout": 0.1},
        },
        "loss": {
            "loss_name": "tdt",
            "tdt_kwargs": {"durations": durations, "sigma": UNDERNORMALIZATION, "omega": 0.0},
        },
        "decoding": {
            "strategy": "greedy_batch",
            "model_type": "tdt",
            "durations": durations,
            "greedy": {"max_symbols": 10},
        },
        "validation_ds": {"defer_setup": True, "use_start_end_token": False},
    }


def main() -> None:
    arguments = training_arguments(
        "Train the tiny FastConformer-TDT model on synthetic speech.",
        output="tiny-tdt.nemo",
        steps=1400,
        utterances=3360,
    )
    from nemo.collections.asr.models import EncDecRNNTBPEModel
    from omegaconf import OmegaConf

    utterances = make_utterances(arguments.utterances, arguments.seed, TRAINING)
    be_deterministic(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:  # save_to() reads the tokenizer once more
        train_tokenizer(Path(folder))
        model = EncDecRNNTBPEModel(cfg=OmegaConf.create(configuration(Path(folder))))
        batches = [with_tokens(b, model.tokenizer) for b in make_batches(model, utterances, arguments.seed)]
        fit(
            model,
            batches,
            lambda batch: loss_per_token(model, batch),
            steps=arguments.steps,
            peak_rate=4e-3,
            seed=arguments.seed,
        )
        write_model(model, arguments.output, worst_error_rate=WORST_ERROR_RATE)


if __name__ == "__main__":
    main()
