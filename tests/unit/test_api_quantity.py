"""Kubernetes quantities as integers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription_api.quantity import QUANTITY_PATTERN, parse_quantity


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        (0, 0),
        (5, 5),
        ("5", 5),
        ("20Gi", 20 * 2**30),
        ("1.5Ki", 1536),
        ("2.5G", 2_500_000_000),
        ("100k", 100_000),
        ("1e3", 1000),
        ("12E3", 12_000),
        ("1E", 10**18),
        ("7Ei", 7 * 2**60),
        ("1500m", 2),
        ("1m", 1),
        ("0.1", 1),
        ("1e-2", 1),
    ],
)
def test_value(quantity: str | int, value: int) -> None:
    assert parse_quantity(quantity) == value


@pytest.mark.parametrize(
    "quantity", ["", "Gi", "20GiB", "20 Gi", "-1", "+1", "1e", "1u", ".5", "5.", "20gi", "٣", "1e999999"]
)
def test_refused(quantity: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(quantity)


@pytest.mark.parametrize("quantity", [-1, 2**63, "8Ei", "9e99", "1e19"])
def test_out_of_range(quantity: str | int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        parse_quantity(quantity)


@given(st.text("0123456789.eEkKmMGi+-", max_size=8))
def test_parser_and_crd_agree_on_the_form(text: str) -> None:
    try:
        parse_quantity(text)
    except ValueError as error:
        assert "out of range" in str(error) or not re.search(QUANTITY_PATTERN, text)
    else:
        assert re.search(QUANTITY_PATTERN, text)
