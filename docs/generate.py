"""`make docs`: writes the documents that come from the code; with `--check` it only fails if one is stale."""

from __future__ import annotations

import sys
from pathlib import Path

from scanlang.draw import orders_svg
from scanlang.explain import catalogue_markdown
from scanlang.files import write_atomically
from scanlang.gallery import gallery, named_orders_svg
from scanlang.pipeline import read_program

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "cross_scan.scan"
SIZE = (8, 12)


def picture() -> str:
    """The four directions of the example in README."""
    _, verified = read_program(EXAMPLE, [SIZE])
    return orders_svg([(order.name, order.sequence(*SIZE)) for order in verified.scans["cross"]], *SIZE)


def documents() -> dict[str, str]:
    """Everything that is generated, by its place below this folder."""
    pages = {f"gallery/{name}": content for name, content in gallery().items()}
    return {"errors.md": catalogue_markdown(), "cross_scan.svg": picture(), "named_orders.svg": named_orders_svg(), **pages}


def main(only_check: bool) -> int:
    made = documents()
    stale = [name for name, content in made.items() if read(HERE / name) != content]
    left = sorted(path for path in (HERE / "gallery").glob("*") if f"gallery/{path.name}" not in made)
    for name in stale:
        if not only_check:
            write_atomically(HERE / name, made[name])
        print(f"docs/{name} {'is stale: make docs' if only_check else 'written'}")
    for path in left:
        if not only_check:
            path.unlink()
        print(f"docs/gallery/{path.name} {'is of no program: make docs' if only_check else 'removed'}")
    return 1 if (stale or left) and only_check else 0


def read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
