"""The grids on which orders are checked and compared when no size is given: small ones, and longer ones with prime sides."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod

from scanlang.maps.bounds import Grid

SMALL_SIDE = {1: 64, 2: 8, 3: 4, 4: 3}
"""By the number of axes: every grid with sides up to this is among the usual ones."""

LARGER: dict[int, tuple[Grid, ...]] = {
    1: ((67,), (71,), (97,), (101,)),
    2: ((1, 17), (17, 1), (2, 11), (11, 2), (3, 11), (11, 3), (7, 13), (13, 7), (11, 13), (19, 5), (5, 19)),
    3: ((1, 1, 11), (1, 11, 1), (11, 1, 1), (2, 3, 7), (3, 7, 2), (7, 2, 3), (5, 3, 7), (7, 5, 3), (3, 7, 5)),
    4: ((1, 1, 1, 7), (1, 1, 7, 1), (1, 7, 1, 1), (7, 1, 1, 1), (2, 3, 5, 2), (5, 2, 3, 2), (3, 5, 2, 2), (2, 2, 3, 5)),
}


@lru_cache(maxsize=4)
def usual_sizes(rank: int) -> tuple[Grid, ...]:
    """Of grids of `rank` axes."""
    return (*product(range(1, SMALL_SIDE[rank] + 1), repeat=rank), *LARGER[rank])


def usual_sizes_in_words(rank: int) -> str:
    """`every grid up to 8 × 8 and 11 larger ones with prime sides`."""
    small = " × ".join([str(SMALL_SIDE[rank])] * rank)
    return f"every grid up to {small} and {len(LARGER[rank])} larger ones with prime sides"


def telling_first(grid: Grid) -> tuple[bool, int, Grid]:
    """A key for sorting: the smallest grid first, those of a single row or column last, as they say less of what is wrong."""
    return len(grid) > 1 and min(grid) == 1, prod(grid), grid
