"""What starts fast: `--help`, globs and URIs need no model classes."""

from __future__ import annotations

import subprocess
import sys

import pytest


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("module", ["names", "uri", "globs", "quantity", "load"])
def test_light_module_imports_neither_pydantic_nor_yaml(module: str) -> None:
    loaded = modules_after(f"import transcription_api.{module}")
    assert f"transcription_api.{module}" in loaded
    assert not loaded & {"pydantic", "yaml", "numpy", "torch", "boto3"}


def test_models_import_pydantic_and_nothing_heavy_besides() -> None:
    loaded = modules_after("import transcription_api.job")
    assert "pydantic" in loaded
    assert not loaded & {"yaml", "numpy", "torch", "boto3", "asyncio", "jsonschema", "requests"}
