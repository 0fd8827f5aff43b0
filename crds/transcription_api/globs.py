"""Globs on object keys, as `input.include` and `input.exclude` take them.

`*`, `?` and `[a-z]` (`[!a-z]` for the opposite) stay inside one folder name; `**/` stands for any number of folders,
also none, and a last `**` for everything below. Matching is case-sensitive, as keys are. Nothing in a regular
expression made here is tried twice: for a glob the first match of a wildcard is never worse than a later one (as in
`fnmatch` since Python 3.11), so each becomes an atomic group and hostile patterns cost no more than others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from posixpath import basename
from typing import NamedTuple

_AUDIO = "aac aif aifc aiff amr au caf flac m4a m4b mka mp3 oga ogg opus snd w64 wav wma"
_VIDEO = "3gp avi mkv mov mp4 mpeg mpg ts webm"
MEDIA_EXTENSIONS = frozenset(f"{_AUDIO} {_VIDEO}".split())
"""What is taken for a recording without `include`: lower case, without the dot."""

_CLASS = r"\[!?[^/][^\]/]*\]"
_TOKEN = re.compile(rf"{_CLASS}|.", re.DOTALL)
_FOLDERS = "(?:[^/]*/)*?"


class GlobError(ValueError):
    """Not a glob. `problem` says why, `mend` what to write instead."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(f"{problem}; {mend}")
        self.problem = problem
        self.mend = mend


class Ban(NamedTuple):
    """What no glob contains, as an expression that Python and RE2 read alike: the CRD carries the same."""

    expression: str
    problem: str
    mend: str


BANS = (
    Ban("^/", "a key has no leading slash", "remove the slash at the start"),
    Ban("^!", "a leading ! does not negate", "write the glob under exclude, without the !"),
    Ban("/$", "a recording's key does not end with a slash", "write ** at the end for everything below"),
    Ban(r"[^/]\*\*|\*\*[^/]", "** must be a whole folder name", "write **/*.wav, or a single *"),
)
WELL_FORMED = Ban(
    rf"^([^\[{{}}\\]|{_CLASS})*$",
    "braces and backslashes have no meaning in a glob, and every [ needs its ]",
    "write one glob per alternative, and a special character in brackets, such as [[]",
)
"""The opposite of a ban: every glob fulfils this expression."""


def translate(glob: str) -> str:
    """The regular expression of one glob, for `fullmatch`. Raises GlobError."""
    for ban in BANS:
        if re.search(ban.expression, glob):
            raise GlobError(f"{glob!r} is no glob: {ban.problem}", ban.mend)
    if not re.search(WELL_FORMED.expression, glob):
        raise GlobError(f"{glob!r} is no glob: {WELL_FORMED.problem}", WELL_FORMED.mend)
    *folders, last = glob.split("/")
    placed, run, floats = "", "", False
    for folder in folders:
        if folder == "**":
            placed += _place(run, floats=floats)
            run, floats = "", True
        else:
            run += f"{_name(folder)}/"
    if last == "**":
        return f"{placed}{_place(run, floats=floats)}(?s:.*)"
    return f"{placed}{_FOLDERS if floats else ''}{run}{_name(last)}"


def compile_globs(include: Iterable[str] = (), exclude: Iterable[str] = ()) -> Callable[[str], bool]:
    """A test for keys below the input: some `include` matches (without any: a media extension) and no `exclude` does.

    Raises:
        GlobError: a pattern is no glob.
    """
    is_wanted = _any_of(include) or has_media_extension
    is_unwanted = _any_of(exclude)
    if is_unwanted is None:
        return is_wanted
    return lambda key: is_wanted(key) and not is_unwanted(key)


def has_media_extension(key: str) -> bool:
    """Whether the key ends with a known audio or video extension, in any case."""
    _, dot, extension = basename(key).rpartition(".")
    return bool(dot) and extension.lower() in MEDIA_EXTENSIONS


def _any_of(globs: Iterable[str]) -> Callable[[str], bool] | None:
    expressions = [translate(glob) for glob in globs]
    if not expressions:
        return None
    match = re.compile("|".join(expressions)).fullmatch
    return lambda key: match(key) is not None


def _place(run: str, *, floats: bool) -> str:
    """A run of folders between two `**`: where it stands, or the first place where it fits."""
    return f"(?>{_FOLDERS}{run})" if run and floats else run


def _name(pattern: str) -> str:
    """One folder or file name. Every star but the last takes its first match; the last is tied to the name's end."""
    pieces = [""]
    for token in _TOKEN.findall(pattern):
        if token == "*":  # noqa: S105
            pieces.append("")
        else:
            pieces[-1] += _character(token)
    first, *stars = pieces
    if not stars:
        return first
    *middle, end = stars
    return first + "".join(f"(?>[^/]*?{piece})" for piece in middle if piece) + f"[^/]*{end}"


def _character(token: str) -> str:
    if token == "?":  # noqa: S105
        return "[^/]"
    if len(token) == 1:
        return re.escape(token)
    negated = token.startswith("[!") and len(token) > 3
    members = token[2:-1] if negated else token[1:-1]
    return f"(?!/)[{'^' if negated else ''}{_members(members, token)}]"


def _members(members: str, token: str) -> str:
    escaped = ""
    while members:
        if len(members) > 2 and members[1] == "-":
            low, high, members = members[0], members[2], members[3:]
            if low > high:
                raise GlobError(f"{token} is no range of characters", f"write [{high}-{low}]")
            escaped += f"{re.escape(low)}-{re.escape(high)}"
        else:
            escaped += re.escape(members[0])
            members = members[1:]
    return escaped
