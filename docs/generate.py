"""`make docs`: writes the documents that come from the code; with `--check` it only fails if one is stale."""

from __future__ import annotations

import sys
from pathlib import Path

from scanlang.draw import orders_svg
from scanlang.explain import catalogue_markdown
from scanlang.files import write_atomically
from scanlang.pipeline import read_program

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "cross_scan.scan"
SIZE = (8, 12)


def picture() -> str:
    """The four directions of the example in README."""
    _, verified = read_program(EXAMPLE, [SIZE])
    return orders_svg([(order.name, order.positions(*SIZE)) for order in verified.scans["cross"]], *SIZE)


def main(only_check: bool) -> int:
    stale = []
    for name, make in (("errors.md", catalogue_markdown), ("cross_scan.svg", picture)):
        path, content = HERE / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        stale.append(name)
        if not only_check:
            write_atomically(path, content)
    for name in stale:
        print(f"docs/{name} {'is stale: make docs' if only_check else 'written'}")
    return 1 if stale and only_check else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
