"""index.html: one file without a network. Template, style and script stand in assets/.

Keys, messages and transcripts are written by strangers. They reach the page only as JSON in a block that no browser
runs, and the script sets them as text; a content security policy lets no other script or style run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path

from transcription_worker.report.summary import Summary

ASSETS = Path(__file__).with_name("assets")
SCRIPTS = ("figures.js", "table.js", "panel.js", "page.js")


def page(summary: Summary, *, rows: list[dict[str, object]], transcripts: Mapping[int, object], note: str) -> bytes:
    """The whole page. `note` is one sentence that says what the table leaves out, or empty."""
    style = (ASSETS / "page.css").read_text()
    script = "\n".join((ASSETS / name).read_text() for name in SCRIPTS)
    data = {"summary": summary.to_dict(), "rows": rows, "transcripts": transcripts, "note": note}
    parts = {
        "{{title}}": html.escape(summary.header.job),
        "{{policy}}": _policy(style, script),
        "{{style}}": style,
        "{{data}}": _inert(data),
        "{{script}}": script,
    }
    text = (ASSETS / "page.html").read_text()
    # Each placeholder stands once and in this order: data that looks like a placeholder is never read as one.
    done = []
    for placeholder, value in parts.items():
        before, text = text.split(placeholder, 1)
        done += [before, value]
    return "".join([*done, text]).encode(errors="backslashreplace")


def _policy(style: str, script: str) -> str:
    """Runs exactly this script and style, plays local audio, and reaches no network (W3C CSP Level 3)."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'sha256-{_sha256(script)}'",
            f"style-src 'sha256-{_sha256(style)}'",
            "media-src file: 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inert(data: object) -> str:
    """JSON that cannot end the script block it stands in (HTML section 4.12.1.3)."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
