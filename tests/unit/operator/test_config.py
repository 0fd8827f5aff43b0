"""The operator's settings: read once, each fault one sentence that names the variable."""

from __future__ import annotations

import pytest

from transcription_operator.cli import EX_CONFIG, main
from transcription_operator.config import DEFAULT_CONTROL_RESOURCES, Config, ConfigError, read_config

IMAGE = {"TRANSCRIPTION_WORKER_IMAGE": "example.com/worker:1"}


def test_the_image_alone_is_enough():
    assert read_config(IMAGE) == Config(
        worker_image="example.com/worker:1", control_resources=DEFAULT_CONTROL_RESOURCES
    )


def test_an_empty_variable_is_none():
    names = ("NAMESPACES", "RESYNC_SECONDS", "GRACE_SECONDS", "HTTP_PORT", "LOG_FORMAT", "CONTROL_RESOURCES")
    empty = {f"TRANSCRIPTION_{name}": "" for name in (*names, "WATCH_NAMESPACES", "IMAGE_PULL_POLICY")}
    assert read_config(IMAGE | empty) == read_config(IMAGE)


def test_every_setting_is_read():
    assert read_config(
        IMAGE
        | {
            "TRANSCRIPTION_IMAGE_PULL_POLICY": "Never",
            "TRANSCRIPTION_IMAGE_PULL_SECRETS": "one, two",
            "TRANSCRIPTION_WATCH_NAMESPACES": "a,b,",
            "TRANSCRIPTION_RESYNC_SECONDS": "2.5",
            "TRANSCRIPTION_GRACE_SECONDS": "60",
            "TRANSCRIPTION_CONTROL_RESOURCES": '{"limits": {"memory": "2Gi"}}',
            "TRANSCRIPTION_HTTP_PORT": "9000",
            "TRANSCRIPTION_LOG_FORMAT": "json",
            "TRANSCRIPTION_GPU_HOUR_PRICE": "2.49",
            "TRANSCRIPTION_CURRENCY": "EUR",
        }
    ) == Config(
        worker_image="example.com/worker:1",
        image_pull_policy="Never",
        image_pull_secrets=("one", "two"),
        namespaces=("a", "b"),
        resync_seconds=2.5,
        grace_seconds=60,
        control_resources={"limits": {"memory": "2Gi"}},
        http_port=9000,
        log_format="json",
        gpu_hour_price=2.49,
        currency="EUR",
    )


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("WORKER_IMAGE", "", "name the image"),
        ("IMAGE_PULL_POLICY", "always", "write one of Always, IfNotPresent, Never"),
        ("RESYNC_SECONDS", "soon", "write a number"),
        ("RESYNC_SECONDS", "0.5", "write at least 1"),
        ("RESYNC_SECONDS", "nan", "write at least 1"),
        ("RESYNC_SECONDS", "inf", "write at most 3600"),
        ("GRACE_SECONDS", "29", "write at least 30"),
        ("GRACE_SECONDS", "1e400", "write at most 86400"),
        ("HTTP_PORT", "0", "write at least 1"),
        ("HTTP_PORT", "65536", "write at most 65535"),
        ("GPU_HOUR_PRICE", "cheap", "write a number"),
        ("LOG_FORMAT", "xml", "write one of text, json"),
        ("CONTROL_RESOURCES", "{", "write core/v1 ResourceRequirements"),
        ("CONTROL_RESOURCES", "[]", "write an object with requests and limits"),
        ("CONTROL_RESOURCES", '{"cpu": 1}', "write an object with requests and limits"),
    ],
)
def test_a_fault_is_one_sentence_that_names_the_variable_and_the_mend(name, value, mend, monkeypatch, capsys):
    variables = IMAGE | {f"TRANSCRIPTION_{name}": value}
    with pytest.raises(ConfigError, match=f"^TRANSCRIPTION_{name} .*{mend}"):
        read_config(variables)
    for variable, text in variables.items():
        monkeypatch.setenv(variable, text)
    assert main([]) == EX_CONFIG
    assert capsys.readouterr().err.count("\n") == 1
