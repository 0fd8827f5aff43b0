"""Listings of a bucket: page after page in order, or over several connections at once in any order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from transcription_worker.errors import RetryableError
from transcription_worker.store.s3_client import S3Client

CONNECTIONS = 16
ALONE_PAGES = 4
"""What is no longer than this is not worth a second connection."""
RANGES = 4 * CONNECTIONS
"""Ranges are of very different sizes: with a few for each connection all end together."""
LOOKS = 64
"""The most requests that go into finding where to cut."""

Page = dict[str, Any]
"""The answer of ListObjectsV2."""


class _GaveUp(Exception):
    """Nobody takes pages any more."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies below a prefix of a bucket; `uri` names it in sentences."""

    client: S3Client
    bucket: str
    prefix: str
    uri: str

    def pages(self, after: str = "", **options: str) -> Iterator[Page]:
        """Pages in the order of the keys' UTF-8 bytes, from behind a key on.

        Raises:
            RetryableError: the store broke the listing off; botocore's errors else.
        """
        if after:
            options["StartAfter"] = after
        listing = self.client.get_paginator("list_objects_v2")
        for page in listing.paginate(Bucket=self.bucket, Prefix=self.prefix, **options):
            yield page
            if page.get("IsTruncated") and not page.get("NextContinuationToken"):
                raise RetryableError(
                    f"{self.client.meta.endpoint_url} broke off the listing of {self.uri}: it says that there is "
                    "more, and not how to get it."
                )

    def scattered_pages(self) -> Iterator[Page]:
        """The same objects in any order, as fast as several connections bring them.

        One connection waits for each page before it can ask for the next. The keys are cut into ranges at the
        folders that there are, and the ranges are listed side by side; a bucket without folders stays with one.
        """
        after = ""
        for number, page in enumerate(self.pages(), start=1):
            yield page
            if not page.get("IsTruncated"):
                return
            after = page["Contents"][-1]["Key"] if page.get("Contents") else after
            if number == ALONE_PAGES:
                break
        cuts = [cut for cut in self._folders() if cut > after]
        cuts = cuts[:: max(1, len(cuts) // RANGES)]
        yield from self._side_by_side(list(zip([after, *cuts], [*cuts, None], strict=True)))

    def _folders(self) -> list[str]:
        """Folders in order, from as many levels as it takes to have enough of them."""
        found: list[str] = []
        level, looks = [self.prefix], 0
        with ThreadPoolExecutor(CONNECTIONS, "folders") as pool:
            while level and len(found) < RANGES and looks < LOOKS:
                level = level[: LOOKS - looks]
                looks += len(level)
                level = [folder for folders in pool.map(self._folders_of, level) for folder in folders]
                found += level
        return sorted(found)

    def _folders_of(self, folder: str) -> list[str]:
        """The first thousand at most: one request."""
        page = self.client.list_objects_v2(Bucket=self.bucket, Prefix=folder, Delimiter="/")
        return [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]

    def _side_by_side(self, ranges: Sequence[tuple[str, str | None]]) -> Iterator[Page]:
        pages: queue.Queue[Page | BaseException | None] = queue.Queue(2 * CONNECTIONS)
        gave_up = threading.Event()

        def put(item: Page | BaseException | None) -> None:
            while not gave_up.is_set():
                try:
                    pages.put(item, timeout=0.2)
                    return
                except queue.Full:
                    continue
            raise _GaveUp

        def read(after: str, last: str | None) -> None:
            try:
                for page in self._range(after, last):
                    put(page)
                put(None)
            except _GaveUp:
                pass
            except BaseException as error:  # it belongs to whoever takes the pages
                put(error)

        with ThreadPoolExecutor(CONNECTIONS, "list") as pool:
            try:
                for after, last in ranges:
                    pool.submit(read, after, last)
                ended = 0
                while ended < len(ranges):
                    item = pages.get()
                    if item is None:
                        ended += 1
                    elif isinstance(item, BaseException):
                        raise item
                    else:
                        yield item
            finally:
                gave_up.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def _range(self, after: str, last: str | None) -> Iterator[Page]:
        """Keys behind `after` up to `last`, also from a store that passes over StartAfter."""
        for page in self.pages(after):
            contents = page.get("Contents", ())
            yield {"Contents": [e for e in contents if e["Key"] > after and (last is None or e["Key"] <= last)]}
            if last is not None and contents and contents[-1]["Key"] > last:
                return
