"""Globs on keys: what they match, what they refuse, and that no pattern is slow."""

from __future__ import annotations

import re
import time
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription_api.globs import GlobError, compile_globs, has_media_extension, translate


def matches(glob: str, key: str) -> bool:
    return compile_globs([glob])(key)


@pytest.mark.parametrize(
    ("glob", "key"),
    [
        ("*.flac", "a.flac"),
        ("*", ""),
        ("?.wav", "ü.wav"),
        ("a*b*c.wav", "a-b-b-c.wav"),
        ("**/*.flac", "a.flac"),
        ("**/*.flac", "x/y/a.flac"),
        ("**/a/**/b/*.wav", "a/b/x.wav"),
        ("**/a/**/b/*.wav", "q/a/a/c/b/b/x.wav"),
        ("a/**", "a/b/c.bin"),
        ("**", "anything/at all\n.x"),
        ("**/**/x", "x"),
        ("[a-c]x", "bx"),
        ("[!a-c]x", "dx"),
        ("[]]x", "]x"),
        ("[[]x", "[x"),
        ("[!]", "!"),
        ("[{]x", "{x"),
        ("[a^-]", "^"),
        ("x]", "x]"),
        ("a.b", "a.b"),
        ("a//b", "a//b"),
    ],
)
def test_matches(glob: str, key: str) -> None:
    assert matches(glob, key)


@pytest.mark.parametrize(
    ("glob", "key"),
    [
        ("*.flac", "x/a.flac"),
        ("*.flac", "a.FLAC"),
        ("?", "/"),
        ("a?b", "a/b"),
        ("a[!x]b", "a/b"),
        ("a[+-9]b", "a/b"),
        ("a/**", "a"),
        ("**/a", "ba"),
        ("a/**/b", "a/xb"),
        ("a/**/b", "ab"),
        ("a.b", "axb"),
        ("*a", "a\n"),
    ],
)
def test_does_not_match(glob: str, key: str) -> None:
    assert not matches(glob, key)


@pytest.mark.parametrize(
    "glob",
    ["/a", "!a", "a/", "a**", "**a", "a/b**/c", "***", "*.{wav,mp3}", "a\\*", "[a", "[]", "[a/b]", "[z-a]", "x["],
)
def test_refuses_what_is_no_glob_with_advice(glob: str) -> None:
    with pytest.raises(GlobError) as caught:
        translate(glob)
    assert caught.value.problem
    assert re.match(r"(write|remove) ", caught.value.mend)


def test_exclude_wins_over_include() -> None:
    wanted = compile_globs(["**/*.wav", "**/*.mp3"], ["drafts/**", "**/*-old.wav"])
    assert [key for key in ("a.wav", "b/c.mp3", "drafts/a.wav", "x/y-old.wav", "a.txt") if wanted(key)] == [
        "a.wav",
        "b/c.mp3",
    ]


def test_without_include_known_audio_and_video_is_taken() -> None:
    wanted = compile_globs([], ["b/**"])
    keys = ["a.wav", "A.FLAC", "x/film.Mp4", "b/a.wav", "notes.txt", "wav", "a.wav/readme", ".wav", "a.wav.json"]
    assert [key for key in keys if wanted(key)] == ["a.wav", "A.FLAC", "x/film.Mp4", ".wav"]


@pytest.mark.parametrize("extension", ["w64", "opus", "m4b", "3gp", "webm", "ts", "aifc", "amr"])
def test_extension_is_known(extension: str) -> None:
    assert has_media_extension(f"a/b.{extension}")


def reference(glob: str, key: str) -> bool:
    """Globs by their definition: try everything, remember what was tried."""

    @cache
    def fits(g: int, k: int) -> bool:
        if glob.startswith("**/", g) and (g == 0 or glob[g - 1] == "/"):
            return fits(g + 3, k) or any(key[i] == "/" and fits(g + 3, i + 1) for i in range(k, len(key)))
        if glob[g:] == "**":
            return True
        if g == len(glob):
            return k == len(key)
        if glob[g] == "*":
            return fits(g + 1, k) or (k < len(key) and key[k] != "/" and fits(g, k + 1))
        if k == len(key):
            return False
        if glob.startswith("[ab]", g):
            return key[k] in "ab" and fits(g + 4, k + 1)
        if glob.startswith("[!b]", g):
            return key[k] not in "b/" and fits(g + 4, k + 1)
        return (key[k] != "/" if glob[g] == "?" else key[k] == glob[g]) and fits(g + 1, k + 1)

    return fits(0, 0)


NAMES = st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", "[!b]", "a*", "*b"]), min_size=1, max_size=4).map(
    lambda tokens: re.sub(r"\*+", "*", "".join(tokens))
)
GLOBS = st.lists(st.one_of(NAMES, st.just("**")), min_size=1, max_size=5).map("/".join)
KEYS = st.text("ab/", max_size=14)


@given(GLOBS, KEYS)
def test_agrees_with_the_definition(glob: str, key: str) -> None:
    assert matches(glob, key) == reference(glob, key)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_compiles_or_is_refused(glob: str, key: str) -> None:
    try:
        wanted = compile_globs([glob])
    except GlobError:
        return
    wanted(key)


HOSTILE = [
    ("*a" * 255 + "b", "a" * 1024),
    ("**/" * 150 + "b", "a/" * 512),
    ("**/a/" * 100 + "b", "a/" * 511 + "a"),
    ("**/*a*a*a/" * 45 + "b", "aaaaaaa/" * 128),
    ("*" * 1 + "?*" * 250 + "b", "a" * 1024),
    ("**/" + "*/" * 200 + "b", "a/" * 512),
]


@pytest.mark.parametrize(("glob", "key"), HOSTILE, ids=[glob[:12] for glob, _ in HOSTILE])
def test_hostile_glob_costs_polynomial_work(glob: str, key: str) -> None:
    """With backtracking each of these would outlast the universe. CPU time does not count other people's load."""
    wanted = compile_globs([glob])
    before = time.process_time()
    assert not wanted(key)
    assert time.process_time() - before < 1.0
