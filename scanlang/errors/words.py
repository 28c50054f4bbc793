"""How the messages list names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def one_of(words: tuple[str, ...]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def closest(name: str, known: tuple[str, ...]) -> str | None:
    """The known name that `name` is most likely a slip of, if there is one near enough."""
    by_lower = {other.lower(): other for other in reversed(known)}
    near = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def listed(names: Iterable[str], word: str = "and") -> str:
    """`a`, `b` and `c`."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {word} {quoted[-1]}"
