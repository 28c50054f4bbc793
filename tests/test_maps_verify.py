"""Formula orders: what is proved, what is checked, and what the findings say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_orders import SIZES, integers_of

from scanlang.diagnostics import ScanError
from scanlang.errors import NotABijection
from scanlang.maps.bounds import STEP
from scanlang.maps.evaluate import evaluate
from scanlang.maps.index_map import IndexMap
from scanlang.maps.integers import Integer, Variable
from scanlang.maps.proofs import prove_map
from scanlang.maps.usual_sizes import usual_sizes, usual_sizes_in_words
from scanlang.maps.verify import VerifiedProgram, verify_size
from scanlang.pipeline import check_text
from scanlang.source import Source
from scanlang.testing.order_strategies import grids
from scanlang.testing.order_strategies import orders as texts

UNPROVED = "((t + 1) // w % h, (t + 1) % w)"
H, W, T = Variable("n0"), Variable("n1"), STEP


def verified(formula: str, *more: str, sizes: tuple[tuple[int, int], ...] | None = None) -> VerifiedProgram:
    text = "\n".join(["grid h, w", f"order f(t) = {formula}", *more])
    return check_text(Source("f.scan", text), sizes=sizes)


PROVED = {
    "(t // w, t % w)": "equal to walk h, w",
    "(t % h, t // h)": "equal to walk w, h",
    "(t // w, t - t // w * w)": "equal to walk h, w",
    "(t // w, where(t // w % 2 == 0, t % w, w - 1 - t % w))": "equal to walk h, ~w",
    "(t // w, where(t // w % 2 != 1, t % w, w - 1 - t % w))": "equal to walk h, ~w",
    "(t // w, t % w + t // w % 2 * (w - 1 - 2 * (t % w)))": "equal to walk h, ~w",
    "(t // w, abs(t % w - t // w % 2 * (w - 1)))": "equal to walk h, ~w",
    "(h - 1 - t // w, t % w)": "equal to flip((walk h, w), h)",
    "(h - 1 - t // w, w - 1 - t % w)": "equal to reverse(walk h, w)",
    "((h * w - 1 - t) // w, (h * w - 1 - t) % w)": "equal to reverse(walk h, w)",
    "(t % h, (t % h + t // h) % w)": "wrapped shear of walk w, h along w",
    "(t % h, (t // h - t % h) % w)": "wrapped shear of walk w, h along w",
    "(t // w, (t + 3 * (t // w) * (t // w)) % w)": "wrapped shear of walk h, w along w",
    "((t // w + t % w) % h, t % w)": "wrapped shear of walk h, w along h",
    "(t // w, (t % w + w // 2) % w)": "wrapped shear of walk h, w along w",
    "(t // w, max(t % w, 0))": "equal to walk h, w",
}


@pytest.mark.parametrize("formula", PROVED)
def test_proof(formula: str) -> None:
    program = verified(formula)
    assert program.verifications["f"].proof == f"formula: {PROVED[formula]}"
    assert program.verifications["f"].sizes == ()
    for size in usual_sizes(2):
        verify_size(program.orders["f"], *size)


def test_without_a_proof_the_sizes_are_told() -> None:
    assert verified(UNPROVED).verifications["f"].sizes == usual_sizes(2)
    assert "every grid up to 8 × 8" in str(verified(UNPROVED).verifications["f"])
    assert str(verified(UNPROVED, sizes=((5, 6),)).verifications["f"]) == "checked on 5 × 6, not proved"


def test_a_formula_may_be_right_at_some_sizes_only() -> None:
    program = verified("(t % h, t // w)", sizes=((14, 14),))
    assert program.orders["f"].positions(14, 14).tolist() == np.arange(196).reshape(14, 14).T.ravel().tolist()
    with pytest.raises(ScanError) as caught:
        verify_size(program.orders["f"], 14, 15)
    assert caught.value.diagnostics[0].code == "S201"


def finding(formula: str, *more: str, sizes: tuple[tuple[int, int], ...] | None = None) -> tuple[str, str, str | None]:
    with pytest.raises(ScanError) as caught:
        verified(formula, *more, sizes=sizes)
    assert len(caught.value.diagnostics) == 1
    found = caught.value.diagnostics[0]
    return found.code, found.label, found.help


def test_smallest_counterexample() -> None:
    code, label, help_ = finding("(t % h, t // w)")
    assert code == "S201"
    assert label == "steps 0 and 2 both visit cell (0, 0) when h = 2, w = 3; none visits (0, 2)"
    assert help_ == "a column-major order divides by `h`, the length of the axis it walks first"
    assert (
        finding("(t // h, t % w)", sizes=((4, 2),))[2]
        == "a row-major order divides by `w`, the length of the axis it walks first"
    )


def test_the_span_is_the_cell() -> None:
    with pytest.raises(ScanError) as caught:
        verified("( (t % h), (t // w) )")
    found = caught.value.diagnostics[0]
    assert isinstance(found, NotABijection)
    assert (found.span.text, found.span.line, found.span.column) == ("( (t % h), (t // w) )", 2, 14)


def test_other_findings() -> None:
    assert finding("(t // w, t % w + 1)")[1] == "step 1 is sent to (0, 2), outside the 2 × 2 grid"
    assert finding("(t // w, t % (w - 2))")[:2] == ("S203", "`w - 2` is 0 at t = 0 when h = 2, w = 2")
    code, label, _ = finding("((t * 2147483647 * 2147483647 * 2 + t) % h, t // h)")
    assert code == "S204"
    assert label.startswith("`t * 2147483647 * 2147483647` may need 64 bits when h = 2, w = 2")


def test_too_many_steps_to_check_are_a_finding() -> None:
    code, label, help_ = finding(UNPROVED, "order g = reverse(f)", sizes=((4, 4), (40_000, 40_000)))
    assert code == "S205"
    assert label == "not proved, and 1,600,000,000 steps are more than the 67,108,864 that can be checked"
    assert help_ == "an order written as a `walk` needs no check"
    with pytest.raises(ScanError, match="1,600,000,000 steps"):
        verified(UNPROVED).orders["f"].positions(40_000, 40_000)


def test_a_proof_needs_no_steps_but_numbers_that_fit() -> None:
    assert verified("(t // w, t % w)", sizes=((40_000, 40_000),)).verifications["f"].proof
    sheared = "(t // w, (t + 2147483647 * 2147483647 * (t // w)) % w)"
    assert verified(sheared).verifications["f"].proof
    assert finding(sheared, sizes=((40_000, 40_000),))[0] == "S204"


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (2**16, 2**16)])
def test_sizes_that_no_grid_has_are_one_finding_at_the_first_order(size: tuple[int, int]) -> None:
    with pytest.raises(ScanError) as caught:
        verified("(t // w, t % w)", "order g = walk w, h", sizes=((3, 3), size))
    (found,) = caught.value.diagnostics
    assert (found.code, found.span.text) == ("S205", "(t // w, t % w)")


def test_transposed_and_reversed_formulas_are_checked_where_they_are_used() -> None:
    """Only f's own grid matters: at h = 2, w = 5 its transpose asks f for 5 × 2."""
    only_wide = "(where(w < h, 0, t // w), t % w)"
    assert verified(only_wide, sizes=((2, 5),))
    assert finding(only_wide, "order g = transpose(f)", sizes=((2, 5),))[1].endswith("when h = 5, w = 2; none visits (1, 0)")
    assert finding(only_wide, "order g = reverse(f)", sizes=((5, 2),))[0] == "S201"


@given(SIZES)
@settings(max_examples=30)
def test_algebra_around_formulas(size: tuple[int, int]) -> None:
    """A formula and the walk it equals give the same tables under everything."""
    h, w = size
    around = ("reverse({})", "transpose({})", "flip({}, h)", "transpose(flip(reverse({}), w))")
    more = [f"order a{i} = {text.format('f')}\norder b{i} = {text.format('snake')}" for i, text in enumerate(around)]
    program = verified("(t // w, where(t // w % 2 == 0, t % w, w - 1 - t % w))", *more)
    for number in range(len(around)):
        left, right = program.orders[f"a{number}"], program.orders[f"b{number}"]
        assert np.array_equal(left.positions(h, w), right.positions(h, w))
        assert np.array_equal(left.ranks(h, w), right.ranks(h, w))
        row, column = left.map(np.arange(h * w), n0=h, n1=w)
        assert np.array_equal(row * w + column, right.positions(h, w))
        assert left.nest is None
        assert left == right


COORDINATES: list[Integer] = [T // W, T % W, T // H, T % H, H - 1 - T // W, W - 1 - T % W, W - 1 - T // H]


@st.composite
def nearly_orders(draw: st.DrawFn) -> IndexMap:
    """Coordinates of plain walks, with random shears: some are orders, most are not."""
    cells: list[Integer] = []
    for length in (H, W):
        cell = draw(st.sampled_from(COORDINATES))
        if draw(st.booleans()):
            cell = (cell + draw(st.one_of(st.sampled_from(COORDINATES), integers_of("t", "n0", "n1")))) % length
        cells.append(cell)
    return IndexMap(("t",), tuple(cells))


@given(nearly_orders())
@settings(max_examples=400)
def test_only_bijections_are_proved(map_: IndexMap) -> None:
    if prove_map(map_, ("h", "w")) is None:
        return
    for h, w in ((1, 1), (1, 4), (5, 1), (2, 3), (3, 2), (4, 4), (3, 7), (7, 5)):
        environment = {"t": np.arange(h * w), "n0": h, "n1": w}
        row, column = (np.broadcast_to(evaluate(output, environment), h * w) for output in map_.outputs)
        assert sorted(zip(row.tolist(), column.tolist(), strict=True)) == [(r, c) for r in range(h) for c in range(w)]


# What is made of other orders.


def test_proofs_of_what_is_made_of_proved_orders() -> None:
    walk, window = "walk: every axis whole, by construction", "window: every cell in one window, every window once"
    proofs = {
        "window(hilbert, 3, 3, outer = snake)": f"hilbert: by construction; {walk}; {window}",
        "shift(snake, 1, 2)": f"{walk}; shift: a roll is a bijection",
        "dilate(raster, 2)": f"{walk}; dilate: each cell of its phase once",
        "insert(reset(reverse(raster), every h), cls at 98)": walk,
        "concat(random(1), random(2))": "random: the cells sorted, by construction; concat: what its parts visit",
    }
    for text, proof in proofs.items():
        program = check_text(Source("f.scan", f"grid h, w order o = {text}"))
        assert program.verifications["o"].proof == proof
        assert program.summary() == "1 order proved for every size"


def test_a_formula_without_a_proof_leaves_what_is_made_of_it_without() -> None:
    program = verified(UNPROVED, "order g = window(f, 3, 3)", "order i = insert(f, cls at 60)")
    assert program.verifications["g"].proof is None
    assert program.verifications["g"].sizes == usual_sizes(2)
    assert min(h * w for h, w in program.verifications["i"].sizes) >= 60, "there is no such order on smaller grids"
    assert finding(UNPROVED, "order i = insert(f, cls at 60)", sizes=((7, 8),))[0] == "S206"


def test_a_wrong_formula_is_named_wherever_it_is_used() -> None:
    code, label, help_ = finding("(t % h, t // w)", "order g = insert(window(f, 2, 2), cls at head)", "order i = reverse(f)")
    assert (code, help_) == ("S201", "a column-major order divides by `h`, the length of the axis it walks first")
    assert label == "steps 0 and 2 both visit cell (0, 0) when h = 2, w = 3; none visits (0, 2)"
    only_even = "(t // w, where(w % 2 == 0, t % w, 0))"
    with pytest.raises(ScanError) as caught:
        verified(only_even, "order g = window(f, 2, 3)", sizes=((2, 4),))
    (found,) = caught.value.diagnostics
    assert isinstance(found, NotABijection)
    assert (found.order, found.sizes) == ("f", (("h", 2), ("w", 3)))


@pytest.mark.parametrize(
    ("grid", "good", "bad", "label"),
    [
        ("l", "(l - 1 - t)", "(t // 2)", "steps 0 and 1 both visit cell 0 when l = 2; none visits 1"),
        ("l", "(t)", "(t + 1)", "step 0 is sent to 1, outside the 1 grid"),
        (
            "t, h, w",
            "(s // (h * w), s // w % h, s % w)",
            "(s // (h * w), s // h % h, s % w)",
            "steps 1 and 4 both visit cell (0, 0, 1) when t = 2, h = 2, w = 3; none visits (0, 1, 1)",
        ),
    ],
)
def test_formulas_on_other_grids(grid: str, good: str, bad: str, label: str) -> None:
    step = "s" if "s" in good else "t"
    rank = len(grid.split(","))
    program = check_text(Source("f.scan", f"grid {grid} order f({step}) = {good}"))
    assert program.verifications["f"].sizes == usual_sizes(rank)
    assert usual_sizes_in_words(rank) in str(program.verifications["f"])
    with pytest.raises(ScanError) as caught:
        check_text(Source("f.scan", f"grid {grid} order f({step}) = {bad}"))
    assert caught.value.diagnostics[0].label == label


def test_tables_are_right_at_their_size(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).permutation(12).reshape(3, 4))
    text = 'grid h, w order a = table("mine.npy") order b = window(a, 3, 4, pad = decay)'
    program = check_text(Source("f.scan", text), tmp_path)
    assert program.orders["a"].proof == "table: each of its 3 × 4 cells once, by check"
    assert program.orders["a"].ranks(3, 4).tolist() == np.load(tmp_path / "mine.npy").ravel().tolist()
    assert program.orders["b"].positions(4, 4).tolist()[:12] == program.orders["a"].positions(3, 4).tolist()
    assert check_text(Source("f.scan", text), tmp_path, [(3, 4)])
    with pytest.raises(ScanError, match="S208"):
        check_text(Source("f.scan", text), tmp_path, [(4, 3)])


def test_work_at_the_usual_sizes_is_bounded() -> None:
    """All of these would be many more steps than are checked."""
    far = "order g = window(f, 1000, 1000, pad = decay)"
    program = verified("(t // w, (t % w + 5 * (t // w)) % w)", far)
    assert program.verifications["g"].proof is not None
    unproved = verified(UNPROVED, far)
    assert 0 < len(unproved.verifications["g"].sizes) < len(usual_sizes(2))


@given(st.data(), st.sampled_from([("l",), ("h", "w"), ("t", "h", "w"), ("b", "t", "h", "w")]), st.booleans())
@settings(max_examples=60)
def test_drawn_orders_are_there_on_every_grid(data: st.DataObject, axes: tuple[str, ...], once: bool) -> None:
    text = data.draw(texts("mine", axes, once=once))
    program = check_text(Source("f.scan", f"grid {', '.join(axes)} {text}"))
    for grid in data.draw(st.lists(grids(4, len(axes)), min_size=1, max_size=2)):
        verify_size(program.orders["mine"], *grid)
        assert program.orders["mine"].plain or not once
