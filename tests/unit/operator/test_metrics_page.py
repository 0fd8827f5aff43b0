"""docs/metrics.md lists what the operator serves, with its type and labels."""

from __future__ import annotations

import re
from pathlib import Path

from transcription_operator.metrics import PREFIX, Metrics

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
ROW = re.compile(rf"^\| `({PREFIX}_\w+)` \| (\w+) \| ([^|]*)\|", re.MULTILINE)


def test_the_page_lists_what_is_served():
    metrics = Metrics()
    metrics.requested("GET", "jobs", 200)
    metrics.errors.labels("Unavailable").inc()
    served = {}
    for family in metrics.registry.collect():
        if family.name.startswith(PREFIX):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            served[name] = (family.type, labels)
    listed = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(PAGE.read_text())}
    assert listed == served
