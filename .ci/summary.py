"""`summary.py gpu results.xml`: prints `gpu: 12 passed, 0 failed, 3 skipped`; fails if a test failed or none passed."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree


def main(name: str, results: Path) -> int:
    if not results.exists():
        print(f"{name}: pytest wrote no results")
        return 1
    counts = {"failures": 0, "errors": 0, "skipped": 0, "tests": 0}
    for suite in ElementTree.parse(results).getroot().iter("testsuite"):
        for key in counts:
            counts[key] += int(suite.get(key, 0))
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    print(f"{name}: {passed} passed, {failed} failed, {counts['skipped']} skipped")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
