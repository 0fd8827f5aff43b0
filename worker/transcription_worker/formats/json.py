"""The transcript as a JSON document: the commit record that every other format can be made from.

Deterministic: equal transcripts give equal bytes. The schema stands in docs/transcript.schema.json.
"""

from __future__ import annotations

import json
from typing import Any

from transcription_worker.errors import Reason, RecordingError
from transcription_worker.transcript import (
    SCHEMA_VERSION,
    ChannelTranscript,
    Provenance,
    Segment,
    Source,
    Transcript,
    Word,
)


def to_json(transcript: Transcript) -> bytes:
    """The document in UTF-8, one line, ending in a line feed. Times in seconds to 1 ms, confidences to 0.0001.

    Raises:
        ValueError: a time or a confidence is not a finite number.
    """
    source, provenance = transcript.source, transcript.provenance
    document = {
        "schemaVersion": SCHEMA_VERSION,
        "source": {
            "uri": source.uri,
            "key": source.key,
            "etag": source.etag,
            "sizeBytes": source.size,
            "durationSeconds": _seconds(source.duration),
            "sampleRate": source.sample_rate,
            "channels": source.channels,
            "codec": source.codec,
        },
        "text": transcript.text,
        "channels": [
            {"channel": channel.channel, "text": channel.text, "segments": [_segment(s) for s in channel.segments]}
            for channel in transcript.channels
        ],
        "provenance": {
            "job": provenance.job,
            "model": provenance.model,
            "modelDigest": provenance.model_digest,
            "optionsDigest": provenance.options_digest,
            "engine": provenance.engine,
            "software": provenance.software,
            "precision": provenance.precision,
            "language": provenance.language,
        },
    }
    line = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A file name that is not UTF-8 reaches Python as a lone surrogate; its backslash escape is JSON and round-trips.
    return f"{line}\n".encode(errors="backslashreplace")


def from_json(body: bytes) -> Transcript:
    """The transcript that `to_json` wrote: `to_json(from_json(b)) == b`.

    Raises:
        RecordingError: `Corrupt`, where this is no transcript, or one of another schema version.
    """
    try:
        document = json.loads(body)
        version = document["schemaVersion"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordingError(
            Reason.CORRUPT,
            "the .json in the output is no transcript of this software: delete it, "
            "or set spec.output.overwrite to Always",
        ) from error
    if version != SCHEMA_VERSION:
        raise RecordingError(
            Reason.CORRUPT,
            f"the transcript in the output has schemaVersion {version!r} and this version reads {SCHEMA_VERSION!r}: "
            "use the version that wrote it, or set spec.output.overwrite to Always",
        )
    try:
        return _transcript(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordingError(
            Reason.CORRUPT,
            f"the transcript in the output is damaged ({type(error).__name__}: {error}): delete it, "
            "or set spec.output.overwrite to Always",
        ) from error


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "start": _seconds(segment.start),
        "end": _seconds(segment.end),
        "text": segment.text,
        "confidence": _confidence(segment.confidence),
        "words": [
            {
                "text": word.text,
                "start": _seconds(word.start),
                "end": _seconds(word.end),
                "confidence": _confidence(word.confidence),
            }
            for word in segment.words
        ],
    }


def _transcript(document: dict[str, Any]) -> Transcript:
    source, provenance = document["source"], document["provenance"]
    return Transcript(
        source=Source(
            uri=source["uri"],
            key=source["key"],
            etag=source["etag"],
            size=source["sizeBytes"],
            duration=source["durationSeconds"],
            sample_rate=source["sampleRate"],
            channels=source["channels"],
            codec=source["codec"],
        ),
        provenance=Provenance(
            job=provenance["job"],
            model=provenance["model"],
            model_digest=provenance["modelDigest"],
            options_digest=provenance["optionsDigest"],
            engine=provenance["engine"],
            software=provenance["software"],
            precision=provenance["precision"],
            language=provenance["language"],
        ),
        channels=tuple(
            ChannelTranscript(
                channel["channel"],
                tuple(
                    Segment(
                        segment["start"],
                        segment["end"],
                        segment["text"],
                        segment["confidence"],
                        tuple(Word(w["text"], w["start"], w["end"], w["confidence"]) for w in segment["words"]),
                    )
                    for segment in channel["segments"]
                ),
            )
            for channel in document["channels"]
        ),
    )


def _seconds(value: float) -> float:
    # + 0.0 turns -0.0 into 0.0: equal transcripts have to give equal bytes.
    return round(float(value), 3) + 0.0


def _confidence(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4) + 0.0
