"""Kubernetes quantities (`20Gi`, `500m`, `1.5e3`) as plain integers."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{1,2})?$"
"""The non-negative subset of the grammar in k8s.io/apimachinery/pkg/api/resource, without nano and micro."""

_PARTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:([eE][+-]?[0-9]{1,2})|(m|[kMGTPE]|[KMGTPE]i)?)")
_FACTORS = {"": Decimal(1), "m": Decimal("0.001")}
_FACTORS |= {unit: Decimal(1000**power) for power, unit in enumerate("kMGTPE", 1)}
_FACTORS |= {f"{unit}i": Decimal(1024**power) for power, unit in enumerate("KMGTPE", 1)}
_LARGEST = 2**63 - 1


def parse_quantity(quantity: str | int) -> int:
    """`"20Gi"` -> 21474836480; fractions are rounded up, as Kubernetes does.

    Raises:
        ValueError: not a quantity, or beyond 2**63 - 1; one sentence.
    """
    if isinstance(quantity, int):
        value = Decimal(quantity)
    else:
        parts = _PARTS.fullmatch(quantity)
        if parts is None or len(quantity) > 64:
            raise ValueError(f"{quantity!r} is not a quantity")
        number, exponent, unit = parts.groups()
        value = Decimal(number + (exponent or "")) * _FACTORS[unit or ""]
    if not 0 <= value <= _LARGEST:
        raise ValueError(f"{quantity!r} is out of range: quantities go from 0 to 2^63 - 1")
    return int(value.to_integral_value(ROUND_CEILING))
