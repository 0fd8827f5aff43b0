"""Cutting a job into shards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription_worker.errors import ConfigurationError, Reason
from transcription_worker.input_manifest import from_manifest
from transcription_worker.inputs import from_listing, output_below_input
from transcription_worker.layout import JobLayout
from transcription_worker.outcome import Outcome, State, read_outcomes, write_outcomes
from transcription_worker.plan import (
    FEWEST_SHARD_RECORDINGS,
    MAX_SHARD_RECORDINGS,
    Plan,
    Recording,
    cut_shards,
    make_plan,
    read_plan,
    read_shard,
)
from transcription_worker.scratch import Scratch
from transcription_worker.store import open_store

sizes = st.lists(st.integers(0, 10**9), max_size=300)


def recordings(of_sizes):
    return [Recording(f"{i}.wav", "e", size) for i, size in enumerate(of_sizes)]


@given(sizes, st.integers(1, 50))
def test_shards_hold_every_recording_once_and_in_order(of_sizes, workers):
    planned = recordings(of_sizes)
    shards = list(cut_shards(planned, sum(r.estimated_seconds for r in planned), workers))
    assert [r for shard in shards for r in shard] == planned
    assert all(0 < len(shard) <= MAX_SHARD_RECORDINGS for shard in shards)


def test_shards_shrink_towards_the_end():
    planned = recordings([1_000_000] * 5000)
    shards = list(cut_shards(planned, sum(r.estimated_seconds for r in planned), 4))
    assert len(shards[0]) > 100
    assert len(shards[-1]) <= len(shards[0]) / 16 + 1
    assert len(shards) < 400


def test_no_shard_is_made_for_next_to_nothing():
    planned = recordings([100_000_000] * 1000 + [10_000] * 5000)
    shards = list(cut_shards(planned, sum(r.estimated_seconds for r in planned), 4))
    short = [shard for shard in shards if shard[0].size == 10_000]
    assert all(len(shard) >= FEWEST_SHARD_RECORDINGS for shard in short[:-1])


def test_a_few_recordings_are_a_shard_each():
    planned = recordings([1_000_000] * 40)
    shards = list(cut_shards(planned, sum(r.estimated_seconds for r in planned), 32))
    assert [len(shard) for shard in shards] == [1] * 40


@pytest.fixture
def scratch(tmp_path):
    with Scratch(tmp_path / "scratch", min_free_bytes=0) as scratch:
        yield scratch


def plan_of(source, tmp_path, scratch):
    output, layout = open_store(str(tmp_path / "out")), JobLayout("job-1")
    plan = make_plan(
        source, output, layout, scratch, workers=2, conditional_writes=True, now=lambda: "2026-01-01T00:00:00Z"
    )
    return plan, output, layout


def test_a_plan_puts_long_recordings_first_and_counts_the_rest(tmp_path, scratch):
    planned = recordings([1000, 10_000_000, 50_000, 400_000_000])
    plan, output, layout = plan_of([*planned, None, None], tmp_path, scratch)
    assert (plan.recordings, plan.ignored, plan.total_bytes) == (4, 2, 410_051_000)
    written = [r for shard in range(plan.shards) for r in read_shard(output, layout, plan, shard)]
    assert [r.key for r in written] == ["3.wav", "1.wav", "2.wav", "0.wav"]
    assert not any(scratch.path.iterdir())


def test_a_plan_that_stands_is_returned_unchanged(tmp_path, scratch):
    first, _, _ = plan_of(recordings([1]), tmp_path, scratch)
    second, output, layout = plan_of(recordings([1, 2, 3]), tmp_path, scratch)
    assert second == first == read_plan(output, layout)


def test_a_plan_of_another_release_is_refused():
    with pytest.raises(ConfigurationError, match="version 99"):
        Plan.from_json(b'{"version": 99}')


def test_listing_leaves_out_what_the_job_itself_writes(tmp_path):
    for name in ("a.wav", "notes.txt", "out/a.wav.json", "out/_transcription/x.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    below = output_below_input(str(tmp_path), str(tmp_path / "out"))
    found = list(from_listing(open_store(str(tmp_path)), lambda key: key.endswith(".wav"), output_below=below))
    assert [r and r.key for r in found] == ["a.wav", None]


@pytest.mark.parametrize(
    ("source", "output", "below"),
    [
        ("s3://a/in/", "s3://a/in/out", "out/"),
        ("s3://a/in", "s3://a/in/", "_transcription/"),
        ("s3://a/in", "s3://a/input2", None),
        ("s3://a", "s3://b", None),
        ("q", "./q/out", "out/"),
        ("q", "file:///somewhere/q", None),
    ],
)
def test_where_the_output_lies_inside_the_input(source, output, below):
    assert output_below_input(source, output) == below


def test_a_manifest_names_recordings_in_several_ways_and_each_once(tmp_path, scratch):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a b.wav").write_bytes(b"12345")
    lines = ['{"key": "./x/a b.wav"}', f'{{"audio_filepath": "{tmp_path}/x/a b.wav"}}', "", '{"uri": "gone.wav"}']
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    found = list(from_manifest(open_store(str(tmp_path)), "list.jsonl", scratch))
    assert [(r.key, r.size) for r in found] == [("x/a b.wav", 5), ("gone.wav", 0)]
    assert found[1].etag == ""


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{nope", "Line 2 of .*list.jsonl is not JSON"),
        ('{"duration": 3}', "Line 2 of .* names no recording"),
        ("7", "Line 2 of .* names no recording"),
        ('{"key": "../up.wav"}', "Line 2 of .* is not below"),
        ('{"uri": "s3://other/a.wav"}', "Line 2 of .* is not below"),
    ],
)
def test_a_manifest_line_that_cannot_be_read_is_named_by_its_number(tmp_path, scratch, line, sentence):
    (tmp_path / "list.jsonl").write_text(f'{{"key": "a.wav"}}\n{line}\n')
    with pytest.raises(ConfigurationError, match=sentence):
        list(from_manifest(open_store(str(tmp_path)), "list.jsonl", scratch))


@pytest.mark.parametrize("key", ["line\u2028separator.wav", "next\u0085line.wav", "not-utf8-\udce9.wav", "a\nb.wav"])
def test_hostile_names_survive_plan_and_ledger(tmp_path, scratch, key):
    plan, output, layout = plan_of([Recording(key, "e", 1)], tmp_path, scratch)
    assert [r.key for r in read_shard(output, layout, plan, 0)] == [key]
    outcome = Outcome(key=key, etag="e", size=1, state=State.FAILED, reason=Reason.CORRUPT, message=f"{key} is bad")
    assert list(read_outcomes(write_outcomes([outcome, outcome]))) == [outcome, outcome]


def test_two_planners_at_once_agree_on_one_plan(tmp_path, scratch):
    other = []

    def slow():
        yield from recordings([1, 2])
        other.append(plan_of(recordings([1, 2, 3]), tmp_path, scratch)[0])

    plan, output, layout = plan_of(slow(), tmp_path, scratch)
    assert plan == other[0] == read_plan(output, layout)
    written = [r.key for shard in range(plan.shards) for r in read_shard(output, layout, plan, shard)]
    assert sorted(written) == ["0.wav", "1.wav", "2.wav"]


def test_a_manifest_line_that_cannot_be_looked_at_costs_only_itself(tmp_path, scratch):
    (tmp_path / "a.wav").write_bytes(b"12345")
    (tmp_path / "out.wav").symlink_to("/etc/passwd")
    (tmp_path / "list.jsonl").write_text('{"key": "out.wav"}\n{"key": "b//c.wav"}\n{"key": "a.wav"}\n')
    found = list(from_manifest(open_store(str(tmp_path)), "list.jsonl", scratch))
    assert [(r.key, r.etag != "") for r in found] == [("out.wav", False), ("b//c.wav", False), ("a.wav", True)]


def test_a_manifest_that_is_not_there_or_too_deep_is_one_sentence(tmp_path, scratch):
    with pytest.raises(ConfigurationError, match=r"none.jsonl does not exist: correct spec.input.manifest"):
        list(from_manifest(open_store(str(tmp_path)), "none.jsonl", scratch))
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    with pytest.raises(ConfigurationError, match=r"Line 1 of .* is not JSON"):
        list(from_manifest(open_store(str(tmp_path)), "deep.jsonl", scratch))
