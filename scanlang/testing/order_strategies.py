"""Strategies for grids and for orders as program text: walks, formulas, and what is made of them."""

from __future__ import annotations

from hypothesis import strategies as st

Axes = tuple[str, str]
AXES: Axes = ("h", "w")
PRIMES = (2, 3, 5, 7, 11, 13)


def grids(most: int = 12) -> st.SearchStrategy[tuple[int, int]]:
    """Sizes (h, w) up to `most` × `most`; single rows and columns, primes and squares come often.

    >>> @given(grids())
    ... def test_mine(grid): assert_bijection(program.orders["mine"], *grid)
    """
    side = st.integers(1, most)
    prime = st.sampled_from([p for p in PRIMES if p <= most] or [1])
    line = st.integers(1, most * 3)
    return st.one_of(
        st.tuples(side, side),
        st.tuples(prime, prime),
        st.tuples(st.just(1), line),
        st.tuples(line, st.just(1)),
        side.map(lambda n: (n, n)),
    )


@st.composite
def _splits(draw: st.DrawFn, axis: str, axes: Axes) -> list[str]:
    """The loops of one axis without their directions: tiles and phases, then the loop over what is left."""
    loops = []
    for kind in draw(st.lists(st.sampled_from(("by", "from", "mod", "axis")), max_size=2)):
        size = draw(st.integers(1, 5))
        match kind:
            case "by":
                loops.append(f"{axis} by {size}")
            case "from":
                loops.append(f"{axis} by {size} from {draw(st.integers(1, size))}")
            case "mod":
                loops.append(f"{axis} mod {size}")
            case "axis":
                loops.append(f"{axis} by {draw(st.sampled_from(axes))}")
    return [*loops, axis]


@st.composite
def walks(draw: st.DrawFn, axes: Axes = AXES) -> str:
    """`walk h by 3 from 2, ~w, -h`: every feature of walks, in any nesting of the loops."""
    left = [draw(_splits(axis, axes)) for axis in axes]
    loops: list[str] = []
    while left[0] or left[1]:
        taken = draw(st.sampled_from([loops_of for loops_of in left if loops_of]))
        directions = ("", "-", "~", "~~") if loops else ("", "-")
        loops.append(draw(st.sampled_from(directions)) + taken.pop(0))
    return f"walk {', '.join(loops)}"


@st.composite
def formulas(draw: st.DrawFn, axes: Axes = AXES) -> str:
    """`(t // w, (t % w + t // w) % w)`: a pair that visits every cell once at every size, made of bijections of the grid."""
    height, width = axes
    step = draw(
        st.sampled_from(("t", f"(t + {draw(st.integers(0, 9))}) % ({height} * {width})", f"{height} * {width} - 1 - t"))
    )
    step = step if step == "t" else f"({step})"
    if draw(st.booleans()):
        cell = [f"{step} // {width}", f"{step} % {width}"]
    else:
        cell = [f"{step} % {height}", f"{step} // {height}"]
    for place in draw(st.lists(st.integers(0, 1), max_size=2)):
        mine, other, size = cell[place], cell[1 - place], axes[place]
        amount = draw(st.integers(0, 3))
        cell[place] = draw(
            st.sampled_from(
                (
                    f"({mine} + {amount} * ({other})) % {size}",
                    f"({mine} + {amount}) % {size}",
                    f"{size} - 1 - ({mine})",
                    f"where(({other}) % 2 == 0, {mine}, {size} - 1 - ({mine}))",
                    f"abs(min({mine}, {size}))",
                    f"max(0, {mine} + {amount}) - {amount}",
                )
            )
        )
    return f"({cell[0]}, {cell[1]})"


@st.composite
def orders(draw: st.DrawFn, name: str = "order_0", axes: Axes = AXES) -> str:
    """The definition of an order called `name`, one or two lines of program text; it visits every cell once on every grid.

    >>> @given(orders("mine"))
    ... def test_any(text): assert_bijection(scanlang.loads("grid h, w " + text).orders["mine"], 4, 7)
    """
    lines = []
    kind = draw(st.sampled_from(("walk", "formula", "named")))
    around = draw(st.lists(st.sampled_from(("reverse", "transpose", "flip 0", "flip 1")), max_size=3))
    match kind:
        case "walk":
            text = draw(walks(axes))
            text = f"({text})" if around else text
        case "named":
            text = draw(st.sampled_from(("raster", "columns", "snake")))
        case _:
            base = f"{name}_formula" if around else name
            lines.append(f"order {base}(t) = {draw(formulas(axes))}")
            text = base
    for function in around:
        text = f"flip({text}, {axes[int(function[-1])]})" if function.startswith("flip") else f"{function}({text})"
    if kind != "formula" or around:
        lines.append(f"order {name} = {text}")
    return "\n".join(lines)
