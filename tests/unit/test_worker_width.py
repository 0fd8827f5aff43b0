"""How wide a worker works on a machine: decoders for its CPUs, and readers enough to keep those supplied."""

from __future__ import annotations

import pytest

from transcription_worker.widths import COMMITTERS, READERS, decoders, readers


@pytest.mark.parametrize("cpus", [1, 2, 4, 8, 16, 32, 128])
def test_while_every_decoder_is_at_work_as_many_recordings_can_be_fetched(cpus):
    assert 1 <= decoders(cpus) <= cpus
    assert readers(cpus) >= max(READERS, 2 * decoders(cpus))


def test_a_large_machine_holds_no_more_than_a_store_is_asked_for_at_once():
    assert decoders(256) == decoders(17)
    assert readers(256) == readers(32) <= 4 * COMMITTERS
