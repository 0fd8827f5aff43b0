"""Two jobs that commit a transcript of one recording at the same moment, in different formats."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.s3server import S3Server
from transcription_worker.commit import Committer, Overwrite
from transcription_worker.store import Store, open_store
from transcription_worker.transcript import ChannelTranscript, Provenance, Segment, Source, Transcript

SOURCE = Source(
    uri="a.wav", key="a.wav", etag="e", size=1, duration=1.0, sample_rate=16000, channels=1, codec="pcm_s16le"
)
OLDEST = Transcript(
    SOURCE,
    Provenance("oldest", "m", "old model", "o", engine="", software="", precision="float32", language=None),
    (ChannelTranscript(None, (Segment(0.0, 1.0, "oldest", None, ()),)),),
)


def committer(store: Store, job: str, formats: list[str]) -> Committer:
    return Committer(
        store,
        job_id=job,
        model_digest="m",
        options_digest="o",
        formats=formats,
        overwrite=Overwrite.IF_CHANGED,
        conditional_writes=True,
    )


def of(job: str) -> Transcript:
    provenance = replace(OLDEST.provenance, job=job, model_digest="m")
    return Transcript(SOURCE, provenance, (ChannelTranscript(None, (Segment(0.0, 1.0, job, None, ()),)),))


@pytest.mark.s3
def test_a_commit_that_lost_gives_the_winner_its_formats_back(s3_environment: S3Server, bucket: str) -> None:
    store = open_store(f"s3://{bucket}/out")
    oldest = committer(store, "oldest", ["txt"])
    oldest.commit(OLDEST, None)
    winner, loser = committer(store, "winner", ["vtt", "txt"]), committer(store, "loser", ["txt", "srt"])
    seen = loser.find("a.wav")
    assert winner.commit(of("winner"), winner.find("a.wav"))
    assert loser.commit(of("loser"), seen) is None
    loser.restore_formats("a.wav")
    found = {info.key.removeprefix("a.wav."): store.get(info.key).decode() for info in store.list("a.wav.")}
    assert sorted(found) == ["json", "srt", "txt", "vtt"]
    assert all("winner" in body and "loser" not in body for body in found.values())


@pytest.mark.s3
@pytest.mark.parametrize(("channel", "gone"), [(None, "a.wav.srt"), (1, "a.wav.ch1.srt")])
def test_a_format_that_is_gone_is_rendered_again(
    s3_environment: S3Server, bucket: str, channel: int | None, gone: str
) -> None:
    """Deleted by a person, or by a job that began to replace the transcript and did not come to its end."""
    store = open_store(f"s3://{bucket}/out")
    said = replace(of("earlier"), channels=(replace(OLDEST.channels[0], channel=channel),))
    assert committer(store, "earlier", ["txt", "srt"]).commit(said, None)
    whole = {info.key: store.get(info.key) for info in store.list()}
    store.delete(gone)
    later = committer(store, "later", ["txt", "srt"])
    found = later.find("a.wav")
    assert found and later.is_current(found, SOURCE.etag)
    assert later.add_missing_formats("a.wav", found) == [gone.removeprefix("a.wav.")]
    assert later.add_missing_formats("a.wav", found) == []
    assert {info.key: store.get(info.key) for info in store.list()} == whole
    assert later.find("a.wav") == found
