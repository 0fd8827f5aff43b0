"""How wide a worker works on a machine: decoders for its CPUs, and readers enough to keep those supplied."""

from __future__ import annotations

import pytest

from transcription_worker.widths import COMMITTERS, FETCH_BYTES, READERS, decoders, fetch_bytes, readers


@pytest.mark.parametrize("cpus", [1, 2, 4, 8, 16, 32, 128])
def test_while_every_decoder_is_at_work_as_many_recordings_can_be_fetched(cpus):
    assert 1 <= decoders(cpus) <= cpus
    assert readers(cpus) >= max(READERS, 2 * decoders(cpus))


def test_a_large_machine_holds_no_more_than_a_store_is_asked_for_at_once():
    assert decoders(256) == decoders(17)
    assert readers(256) == readers(32) <= 4 * COMMITTERS


THREE_HOURS_IN_STEREO = 3 * 3600 * 44_100 * 4


@pytest.mark.parametrize("cpus", [1, 2, 4, 16])
def test_every_decoder_has_a_long_recording_and_the_next_one_arrives(cpus):
    room = fetch_bytes(decoders(cpus), 1 << 40, in_memory=False)
    assert room >= 2 * decoders(cpus) * THREE_HOURS_IN_STEREO


def test_recordings_take_little_of_a_disk_that_other_workers_may_share_and_of_the_memory():
    assert fetch_bytes(15, 6 << 30, in_memory=False) == 3 << 30
    assert fetch_bytes(15, 20 << 30, in_memory=False) == FETCH_BYTES
    assert fetch_bytes(15, 200 << 30, in_memory=False) == 200 << 30 >> 4
    assert fetch_bytes(15, 800 << 30, in_memory=False, sharers=16) * 16 == 400 << 30
    assert fetch_bytes(15, 1 << 40, in_memory=True) == FETCH_BYTES
