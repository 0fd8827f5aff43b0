"""Show what `make demo` wrote, beside what was said in the recordings. Exit 1 where they differ.

python -m scripts.show_demo [OUTPUT]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> int:
    output = Path(sys.argv[1] if len(sys.argv) > 1 else ".demo/transcripts")
    right = total = 0
    for line in (EXAMPLES / "expected.jsonl").read_text().splitlines():
        expected = json.loads(line)
        key = Path(expected["file"])
        if key.parts[0] != "audio":
            continue
        total += 1
        name = key.relative_to("audio")
        transcript = output / f"{name}.json"
        heard = json.loads(transcript.read_text())["text"] if transcript.exists() else None
        same = heard == expected["text"]
        right += same
        shown = "(no transcript)" if heard is None else heard or "(silence)"
        print(f"{'ok   ' if same else 'WRONG'} {name!s:24} {shown if len(shown) < 80 else shown[:77] + '...'}")
    print(f"{right} of {total} transcripts match what was said.")
    return 0 if right == total else 1


if __name__ == "__main__":
    raise SystemExit(main())
