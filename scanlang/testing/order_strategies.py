"""Strategies for grids and for orders as program text: walks, formulas, named orders, and what is made of them."""

from __future__ import annotations

from hypothesis import strategies as st

Axes = tuple[str, ...]
AXES: Axes = ("h", "w")
PRIMES = (2, 3, 5, 7, 11, 13)
WALKS = ("raster", "columns", "snake")
CURVES = (
    "diagonal",
    "antidiagonal",
    "wrapped_diagonal",
    "wrapped_antidiagonal",
    "zigzag",
    "spiral",
    "hilbert",
    "morton",
)


def grids(most: int = 12, axes: int = 2) -> st.SearchStrategy[tuple[int, ...]]:
    """Sizes up to `most` along each axis; single rows and columns, primes and squares come often.

    >>> @given(grids())
    ... def test_mine(grid): assert_bijection(program.orders["mine"], *grid)
    """
    side = st.integers(1, most)
    prime = st.sampled_from([p for p in PRIMES if p <= most] or [1])
    line = st.tuples(st.integers(0, axes - 1), st.integers(1, most * 3))
    return st.one_of(
        st.tuples(*[side] * axes),
        st.tuples(*[prime] * axes),
        line.map(lambda one: tuple(one[1] if axis == one[0] else 1 for axis in range(axes))),
        side.map(lambda n: (n,) * axes),
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
    while any(left):
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
def permutations(draw: st.DrawFn, axes: Axes = AXES, depth: int = 2) -> str:
    """`window(hilbert, 2, 3, outer = reverse(snake))`: it visits every cell once on every grid, and nothing else."""
    named = (*WALKS, *CURVES) if len(axes) == len(AXES) else WALKS
    kinds = ("walk", "named", "random", "reverse", "flip", "shift", "window", "transpose", "rotate")
    kind = draw(st.sampled_from(kinds[: 3 if depth == 0 else 7 if len(axes) == 1 else None]))
    if kind == "walk":
        return f"({draw(walks(axes))})"
    if kind == "named":
        return draw(st.sampled_from(named))
    if kind == "random":
        return f"random({draw(st.integers(0, 99))})"
    inner = draw(permutations(axes, depth - 1))
    match kind:
        case "flip":
            return f"flip({inner}, {draw(st.sampled_from(axes))})"
        case "rotate":
            return f"rotate({inner}, {draw(st.sampled_from((90, 180, 270)))})"
        case "shift":
            return f"shift({inner}, {', '.join(str(draw(st.integers(-4, 4))) for _ in axes)})"
        case "window":
            sizes = ", ".join(draw(_sizes(axis)) for axis in axes)
            return f"window({inner}, {sizes}, outer = {draw(permutations(axes, depth - 1))})"
        case _:
            return f"{kind}({inner})"


def _sizes(axis: str) -> st.SearchStrategy[str]:
    return st.one_of(st.integers(1, 4).map(str), st.just(axis))


@st.composite
def expressions(draw: st.DrawFn, axes: Axes = AXES, depth: int = 2, resets: bool = True) -> str:
    """`insert(dilate(snake, 2, phase = (1, 0)), cls at middle)`: any order expression that there is on every grid.

    Cells are left out or visited again, there are tokens, pads and, if `resets`, restarts.
    """
    kinds = ("once", "insert", "decay", "dilate", "concat", "interleave", "reverse", "reset")
    kind = draw(st.sampled_from(kinds[: 1 if depth == 0 else None if resets else -1]))
    inner = draw(permutations(axes, 1))
    match kind:
        case "once":
            return inner
        case "decay":
            sizes, outer = ", ".join(draw(_sizes(axis)) for axis in axes), draw(permutations(axes, 0))
            return f"window({inner}, {sizes}, outer = {outer}, pad = decay)"
        case "dilate":
            every = draw(st.integers(1, 3))
            phase = ", ".join(str(draw(st.integers(0, every - 1))) for _ in axes)
            return f"dilate({inner}, {every}, phase = ({phase}), pad = {draw(st.sampled_from(('skip', 'decay')))})"
        case "concat" | "interleave":
            parts = [draw(expressions(axes, depth - 1, resets and kind == "concat")) for _ in range(2)]
            return f"{kind}({', '.join(parts)})"
        case "reset":
            windows = f"window({inner}, {', '.join(str(draw(st.integers(1, 4))) for _ in axes)})"
            return draw(
                st.sampled_from((f"reset({inner}, every {draw(st.sampled_from(axes))})", f"reset({windows}, every window)"))
            )
    inner = draw(expressions(axes, depth - 1, resets))
    return f"reverse({inner})" if kind == "reverse" else f"insert({inner}, {', '.join(draw(_tokens()))})"


def _tokens() -> st.SearchStrategy[list[str]]:
    places = st.one_of(st.sampled_from(("head", "middle", "tail", "0")), st.integers(1, 5).map(lambda s: f"every {s}"))
    return st.lists(st.tuples(st.sampled_from(("cls", "reg")), places).map(" at ".join), min_size=1, max_size=3)


@st.composite
def orders(draw: st.DrawFn, name: str = "order_0", axes: Axes = AXES, once: bool = True) -> str:
    """The definition of an order called `name`, one or two lines of program text; there is one on every grid.

    It visits every cell once, and nothing else; unless `once`, also any other way that the language knows.

    >>> @given(orders("mine"))
    ... def test_any(text): assert_bijection(scanlang.loads("grid h, w " + text).orders["mine"], 4, 7)
    """
    kinds = ("walk", "expression", "formula") if len(axes) == len(AXES) else ("walk", "expression")
    kind = draw(st.sampled_from(kinds))
    if kind == "walk":
        return f"order {name} = {draw(walks(axes))}"
    if kind == "expression":
        return f"order {name} = {draw(permutations(axes) if once else expressions(axes))}"
    around = draw(st.lists(st.sampled_from(("reverse({})", "transpose({})", "flip({}, {})")), max_size=3))
    if not around:
        return f"order {name}(t) = {draw(formulas(axes))}"
    text = f"{name}_formula"
    for function in around:
        text = function.format(text, draw(st.sampled_from(axes)))
    return f"order {name}_formula(t) = {draw(formulas(axes))}\norder {name} = {text}"
