"""Files and YAML: what is no manifest at all, and where it breaks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from transcription_api.load import ManifestError, load_manifest, validate_manifest

GOOD = """\
# A comment
---
apiVersion: transcription-operator.io/v1alpha1
kind: TranscriptionJob
metadata:
  name: calls
  annotations: {created: 2026-11-01}
spec:
  input: {uri: s3://calls/}
  output: {uri: s3://transcripts/}
  model: &model {name: nvidia/parakeet-tdt-0.6b-v3}
---
"""


def only_fault(source: str | Path) -> str:
    (fault,) = validate_manifest(source, False)
    assert fault.path == ""
    return str(fault)


def test_file_and_text_and_json_are_read(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"\ufeff{GOOD}", "utf-8")
    from_file = load_manifest(file, local=False)
    assert from_file.metadata.annotations == {"created": "2026-11-01"}
    assert load_manifest(str(file), local=False) == from_file
    assert load_manifest(GOOD, local=False) == from_file
    assert load_manifest(json.dumps(from_file.to_manifest()), local=False) == from_file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the manifest is empty"),
        ("\n\n# nothing\n", "the manifest is empty"),
        ("---\n---\n", "the manifest is empty"),
        ("a: 1\n---\nb: 2\n", "holds 2 documents, the second at line 3; write one TranscriptionJob per file"),
        ("- a\n- b\n", "the manifest holds no fields"),
        ("just\ntext\n", "the manifest holds no fields"),
        ("kind: x\nspec: a: b\n", "line 2, column 8: mapping values are not allowed here"),
        ("kind: x\nspec:\n\tinput: y\n", "line 3, column 1: a tab where YAML wants spaces; indent with spaces"),
        ("kind: 'x\n", "line 2, column 1: found unexpected end of stream"),
        ("kind: [x\n", "line 2, column 1: expected ',' or ']'"),
        ("spec:\n  a: 1\n  a: 2\n", "line 3: a stands here a second time; keep one of the two"),
        ("spec:\n  ? [a]\n  : b\n", "line 2: a field's name is not text"),
        ("spec:\n  x: &x {a: 1}\n  y:\n    <<: *x\n", "line 4: merge keys are not supported"),
        ("spec:\n  x: !!python/object/apply:os.getcwd []\n", "line 2: YAML tags are not supported"),
        ("spec:\n  x: !!python/name:os.getcwd ''\n", "line 2, column 6: YAML tags are not supported"),
        ("spec:\n  x: !!binary aGk=\n", "line 2: 'aGk=' is no text, number, true or false"),
        ("spec:\n  x: .nan\n", "line 2: '.nan' is no text, number, true or false"),
        ("spec:\n  x: !!int abc\n", "line 2: 'abc' is no text, number, true or false"),
        ("spec:\n  x: !!int ''\n", "line 2: '' is no text, number, true or false"),
        ("spec:\n  x: !!bool maybe\n", "line 2: 'maybe' is no text, number, true or false"),
        ("spec:\n  x: !!timestamp x\n", "line 2: 'x' is no text, number, true or false"),
        (f"spec:\n  x: {'9' * 5_000}\n", f"line 2: '{'9' * 60}…' is no text, number, true or false"),
        (f"spec:\n  x: 0x{'f' * 6_000}\n", "…' is no text, number, true or false; write it in quotes"),
        (f"spec:\n  x: 1{':1' * 500}.5\n", "…' is no text, number, true or false; write it in quotes"),
        ("spec:\n  x: *nowhere\n", "line 2, column 6: found undefined alias 'nowhere'"),
        ("spec: &loop\n  x: *loop\n", "grows beyond all bounds; write it without aliases"),
        ("spec:\n  x: \x07\n", "the manifest is not YAML"),
        ("a: " + "[" * 5000 + "\n", "line 1: the manifest nests too deep"),
    ],
)
def test_text_that_is_no_manifest(text: str, message: str) -> None:
    assert message in only_fault(text)


def test_aliases_cannot_blow_up() -> None:
    layers = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 9))
    assert "grows beyond all bounds" in only_fault(f"x0: &x0 [a]\n{layers}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert only_fault(tmp_path / "missing.yaml").endswith("No such file or directory; name a readable manifest")
    assert "Is a directory" in only_fault(tmp_path)
    binary = tmp_path / "model.nemo"
    binary.write_bytes(b"PK\x03\x04\xff\xfe")
    assert only_fault(binary) == f"{binary} is not UTF-8 text; save the manifest as UTF-8"
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"# " + b"x" * (1 << 20))
    assert "larger than 1 MiB" in only_fault(huge)


def test_load_raises_every_fault(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No such file"):
        load_manifest(tmp_path / "missing.yaml", local=True)
