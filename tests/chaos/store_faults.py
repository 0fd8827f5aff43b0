"""Kinds of misbehaviour of an object store, kinds of request, and who decides which request meets which.

How an answer is broken on the wire is `tests/s3proxy.py`; what is done with all this is `store_alone.py` (the store
module by itself) and `store_job.py` (whole jobs).
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from tests.s3proxy import Cut, Damage, Fault, Hang, Lose, Pass, Pause, Refuse, Request, Reset, Rewrite, faulty
from tests.s3server import S3Server

HALF = 150
"""Bytes of an answer that arrive before it breaks: the head is whole, a body is not."""


class Asked(StrEnum):
    """What a request asks for."""

    GET = "GET"
    HEAD = "HEAD"
    LIST = "LIST"
    PUT = "PUT"
    PUT_IF = "conditional PUT"
    DELETE = "DELETE"
    BEGIN = "CreateMultipartUpload"
    PART = "UploadPart"
    COMPLETE = "CompleteMultipartUpload"
    ABORT = "AbortMultipartUpload"
    UPLOADS = "ListMultipartUploads"

    @classmethod
    def of(cls, request: Request) -> Asked:
        method, target, _ = request.line.split(" ")
        query = parse_qs(urlsplit(target).query, keep_blank_values=True)
        if "uploads" in query:
            return cls.BEGIN if method == "POST" else cls.UPLOADS
        if "uploadId" in query:
            return {"PUT": cls.PART, "POST": cls.COMPLETE, "DELETE": cls.ABORT}[method]
        if method == "GET" and "list-type" in query:
            return cls.LIST
        if method == "PUT" and request.headers.keys() & {"if-match", "if-none-match"}:
            return cls.PUT_IF
        return cls(method)


READS = frozenset({Asked.GET, Asked.HEAD, Asked.LIST, Asked.UPLOADS})
WITH_BODY = frozenset({Asked.GET, Asked.LIST, Asked.UPLOADS, Asked.BEGIN, Asked.COMPLETE})
"""Whose answers have a body that can break."""


class Kind(StrEnum):
    """One way to misbehave."""

    INTERNAL_ERROR = "500 InternalError"
    SLOW_DOWN = "503 SlowDown"
    TOO_MANY = "429 TooManyRequests"
    CONFLICT = "409 ConditionalRequestConflict"
    GATEWAY = "502 after the store acted"
    RESET = "reset before the store saw it"
    RESET_IN_ANSWER = "reset in mid-answer"
    LOST_ANSWER = "acted, answer lost"
    TRUNCATED = "truncated body, right headers"
    SHORTENED = "half a body, headers to match"
    BROKEN_OFF = "listing broken off"
    STALL = "stall"
    BIT_FLIP = "bit flip in the answer"
    BIT_FLIP_SENT = "bit flip in what was sent"
    ERROR_IN_200 = "200 with an error inside"
    EXPIRED = "ExpiredToken"
    SKEWED = "RequestTimeTooSkewed"

    def strikes(self, asked: Asked) -> bool:
        """Whether this can happen to such a request at all, and can be found out by anyone.

        Without TLS a bit that flips inside a listing, in a metadata header or in the name of a request looks like any
        other listing, header or name: what is struck are bodies, of which the store or the client knows a checksum.
        """
        match self:
            case Kind.CONFLICT:
                return asked in (Asked.PUT_IF, Asked.COMPLETE)
            case Kind.TRUNCATED | Kind.RESET_IN_ANSWER | Kind.SHORTENED:
                return asked in WITH_BODY
            case Kind.BIT_FLIP:
                return asked is Asked.GET
            case Kind.BIT_FLIP_SENT:
                return asked in (Asked.PUT, Asked.PUT_IF, Asked.PART)
            case Kind.BROKEN_OFF:
                return asked is Asked.LIST
            case Kind.ERROR_IN_200:
                return asked is Asked.COMPLETE
            case _:
                return True

    @property
    def passes(self) -> bool:
        """Whether another attempt may go better with nobody's help."""
        return self not in (Kind.EXPIRED, Kind.SKEWED)


@dataclass(frozen=True, slots=True)
class Wire:
    """How each kind looks on the wire. `stall` is the event that ends stalls; without one they never end."""

    stall: threading.Event | None = None

    def fault(self, kind: Kind, asked: Asked) -> Fault:
        simple: dict[Kind, Fault] = {
            Kind.INTERNAL_ERROR: Refuse(500, "InternalError"),
            Kind.SLOW_DOWN: Refuse(503, "SlowDown"),
            Kind.TOO_MANY: Refuse(429, "TooManyRequests"),
            Kind.CONFLICT: Refuse(409, "ConditionalRequestConflict"),
            Kind.GATEWAY: Refuse(502, "BadGateway", acted=True),
            Kind.RESET: Reset(),
            Kind.LOST_ANSWER: Lose(),
            Kind.SHORTENED: Rewrite(lambda body: body[: len(body) // 2]),
            Kind.STALL: Pause(0, self.stall) if self.stall else Hang(),
            Kind.BROKEN_OFF: Rewrite(break_off),
            Kind.BIT_FLIP: Rewrite(flip),
            Kind.BIT_FLIP_SENT: Damage(flip),
            Kind.ERROR_IN_200: Rewrite(lambda _: b"<Error><Code>InternalError</Code><Message>late</Message></Error>"),
            Kind.EXPIRED: Refuse(400, "ExpiredToken"),
            Kind.SKEWED: Refuse(403, "RequestTimeTooSkewed"),
        }
        if kind is Kind.TRUNCATED:
            return Cut(20)
        return Reset(HALF) if kind is Kind.RESET_IN_ANSWER else simple[kind]


def flip(body: bytes) -> bytes:
    """One bit, in the middle: inside the samples of a recording, not in its header. Always the same one."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else body


def break_off(listing: bytes) -> bytes:
    """Without the last object, as if there were another page, but no way to it."""
    start, end = listing.rfind(b"<Contents>"), listing.rfind(b"</Contents>") + len(b"</Contents>")
    kept = listing if start < 0 else listing[:start] + listing[end:]
    return kept.replace(b"<IsTruncated>false<", b"<IsTruncated>true<")


Choose = Callable[[Asked, Request, int], Kind | None]
"""Decides about one request: what it asks, itself, and how many of its kind came before."""


@dataclass
class Storm:
    """A store behind a proxy, with what was asked and what was injected."""

    endpoint: str
    asked: Counter[Asked] = field(default_factory=Counter)
    injected: Counter[tuple[Kind, Asked]] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    """How often each request came, by its first line."""

    @property
    def requests(self) -> int:
        return self.asked.total()


@contextmanager
def storm(server: S3Server, choose: Choose, *, stall_seconds: float | None = None) -> Iterator[Storm]:
    """A proxy before `server` that breaks what `choose` says.

    Args:
        stall_seconds: how long a stalled answer takes to come; None: it never comes.
    """
    calm = threading.Event()
    lock = threading.Lock()

    def decide(request: Request, _: int) -> Fault:
        asked = Asked.of(request)
        with lock:
            number = seen.asked[asked]
            seen.asked[asked] += 1
            seen.lines[request.line] += 1
            kind = choose(asked, request, number)
            if kind is None or not kind.strikes(asked):
                return Pass()
            seen.injected[kind, asked] += 1
        return Wire(_after(stall_seconds) if stall_seconds is not None else None).fault(kind, asked)

    def _after(seconds: float) -> threading.Event:
        over = threading.Event()

        def end() -> None:
            calm.wait(seconds)
            over.set()

        threading.Thread(target=end, daemon=True).start()
        return over

    seen = Storm("")
    with faulty(server.endpoint, decide) as proxy:
        seen.endpoint = proxy.endpoint
        try:
            yield seen
        finally:
            calm.set()


def only(kind: Kind, asked: Asked, *, times: int | None = None, after: int = 0) -> Choose:
    """The kind strikes the first requests of one sort, after some that pass; all of them without `times`.

    Credentials and clocks are not wrong for one sort of request: from the first one that is struck on, all are.
    """
    begun = False

    def choose(found: Asked, request: Request, number: int) -> Kind | None:
        nonlocal begun
        struck = found is asked and number >= after and (times is None or number < after + times)
        begun = begun or struck
        return kind if struck or (begun and not kind.passes) else None

    return choose


def at_random(seed: int, rates: Mapping[Kind, float]) -> Choose:
    """Each request meets each kind with its own probability."""
    chance = random.Random(seed)
    kinds, weights = list(rates), list(itertools.accumulate(rates.values()))

    def choose(asked: Asked, request: Request, number: int) -> Kind | None:
        drawn = chance.random()
        return next((kind for kind, bound in zip(kinds, weights, strict=True) if drawn < bound), None)

    return choose
