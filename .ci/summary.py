"""`summary.py gpu results.xml 0`: prints `gpu: 12 passed, 0 failed, 3 skipped`; fails if a test failed or none passed, or if
pytest, whose exit status comes last, did not get to the end."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

ENDED = {0, 1, 5}
"""pytest's exit statuses: all passed, some failed, none were selected."""


def main(name: str, results: Path, status: int) -> int:
    if not results.exists():
        print(f"{name}: pytest wrote no results")
        return 1
    counts = {"failures": 0, "errors": 0, "skipped": 0, "tests": 0}
    for suite in ElementTree.parse(results).getroot().iter("testsuite"):
        for key in counts:
            counts[key] += int(suite.get(key, 0))
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    cut_off = "" if status in ENDED else f"; cut off (pytest's exit status is {status})"
    print(f"{name}: {passed} passed, {failed} failed, {counts['skipped']} skipped{cut_off}")
    return 0 if passed and not failed and not cut_off else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
