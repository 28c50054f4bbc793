"""Mistakes of published code, written in the language: each is rejected with a counterexample, or seen to be another program.

Where outputs are compared, the recurrence is `h = h / 2 + x`, so that every cell's place in time shows in them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import scanlang
from scanlang.diagnostics import ScanError

HALVING = """grid h, w
{orders}
recurrence halving {{ input x, g  h = h / 2 + x  y = h * g }}
scan s(dim) {{ input x, g  {clauses}  recur halving }}
"""
SIZES = [(h, w) for h in range(1, 10) for w in range(1, 10)]


def program(orders: str = "", clauses: str = "directions raster") -> scanlang.Program:
    return scanlang.loads(HALVING.format(orders=orders, clauses=clauses))


def finding(text: str) -> str:
    """The one finding in a program, in words."""
    with pytest.raises(ScanError) as caught:
        scanlang.loads(text)
    (found,) = caught.value.diagnostics
    return f"{found.code}: {found.title}; {found.label}"


def image(h: int, w: int) -> Tensor:
    return torch.rand(1, h, w, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1


def output(of: scanlang.Program, x: Tensor, **given: Tensor) -> Tensor:
    return scanlang.compile(of)(x=x, g=torch.ones_like(x), **given)


def halved(sequence: Tensor, starts: tuple[int, ...] = ()) -> Tensor:
    """The recurrence along (steps, channels), by hand."""
    h, found = torch.zeros_like(sequence[0]), []
    for t, x in enumerate(sequence):
        h = (0 if t in starts else h / 2) + x
        found.append(h)
    return torch.stack(found)


# Inverses that are none.

TWISTED = """order poles = walk w, h
order twisted(t) = ((t % w * h + t // w) // w, (t % w * h + t // w) % w)"""
"""`(h w) -> (w h)` once more, where `(w h) -> (h w)` was due."""


def test_localmamba_undoes_its_columns_by_another_transposition() -> None:
    """`MultiScan.reverse("v")`: right on square maps and single lines alone."""
    orders = program(TWISTED).orders
    assert orders["twisted"] != orders["poles"]
    wrong = [size for size in SIZES if not np.array_equal(orders["twisted"].positions(*size), orders["poles"].positions(*size))]
    assert wrong == [(h, w) for h, w in SIZES if h != w and h > 1 and w > 1]


def test_localmamba_writes_its_columns_elsewhere() -> None:
    right, released = program(TWISTED, "directions poles"), program(TWISTED, "directions poles  poles writes twisted")
    for h, w in ((4, 4), (1, 5)):
        assert torch.equal(output(right, image(h, w)), output(released, image(h, w)))
    x = image(3, 5)
    sequence = halved(x[0].transpose(0, 1).flatten(0, 1))
    assert torch.allclose(output(right, x)[0], sequence.unflatten(0, (5, 3)).transpose(0, 1))
    assert torch.allclose(output(released, x)[0].flatten(0, 1), sequence.unflatten(0, (3, 5)).transpose(0, 1).flatten(0, 1))
    assert not torch.allclose(output(right, x), output(released, x))


@pytest.mark.parametrize(("h", "w"), [(3, 5), (4, 4)])
def test_groupmamba_has_its_gradients_from_the_same_map_as_its_outputs(h: int, w: int) -> None:
    """`CrossScan_2.backward` takes the gradient of the w·h sequence for one of h·w. Here the adjoint is derived: with B = 0 the
    output is D x, cell by cell, and its gradient the cell's own."""
    op = scanlang.compile(scanlang.load("std.groupmamba"))
    x, gradient = image(h, w).repeat(1, 1, 1, 4).requires_grad_(), torch.randn(1, h, w, 8, dtype=torch.float64)
    nothing = torch.zeros(1, h, w, 4, 1, dtype=torch.float64)
    parameters = {name: torch.zeros(8, 1, dtype=torch.float64) for name in ("dt_weight", "A_log")}
    y = op(x=x, low=nothing, B=nothing, C=nothing, **parameters, dt_bias=parameters["A_log"][:, 0], D=torch.ones(8).double())
    y.backward(gradient)
    assert torch.equal(x.grad, gradient)
    own = gradient[..., 2:4]  # the second direction's channels: columns
    released = own.transpose(1, 2).flatten(1, 2).unflatten(1, (h, w)).transpose(1, 2).reshape(1, h, w, 2)
    assert torch.equal(x.grad[..., 2:4], released) == (h == w)


def test_zigma_takes_ranks_for_positions(tmp_path: Path) -> None:
    """`hilbert_path` gathers with the step of every cell: what a table of the grid's axes means, but not one of one axis."""
    hilbert = scanlang.order("transpose(hilbert)")
    ranks = hilbert.ranks(16, 16)
    np.save(tmp_path / "steps.npy", ranks.reshape(16, 16))
    np.save(tmp_path / "flat.npy", ranks)
    (tmp_path / "paths.scan").write_text('grid h, w\norder right = table("steps.npy")\norder released = table("flat.npy")\n')
    orders = scanlang.load(tmp_path / "paths.scan", sizes=[(16, 16)]).orders
    assert np.array_equal(orders["right"].positions(16, 16), hilbert.positions(16, 16))
    assert orders["right"] != orders["released"]
    assert set(steps(orders["right"].positions(16, 16))) == {1}
    released = steps(orders["released"].positions(16, 16))
    assert released.max() == 16
    assert round(float(released.mean()), 1) == 4.3


def steps(positions: NDArray[np.int64], w: int = 16) -> NDArray[np.int64]:
    """How far each move goes, along rows and columns."""
    return np.abs(np.diff(positions // w)) + np.abs(np.diff(positions % w))


def test_zigma_s_video_pairs_an_order_with_another_s_inverse() -> None:
    """(identity, flip), (flip, identity) as (order, inverse). An order has its own; writing elsewhere has to be said."""
    orders = "order lines = walk h, w\norder back = reverse(lines)"
    for name in ("lines", "back"):
        order = program(orders).orders[name]
        assert np.array_equal(order.positions(3, 4)[order.ranks(3, 4)], np.arange(12))
    x = image(3, 4)
    right, released = program(orders, "directions lines"), program(orders, "directions lines  lines writes back")
    assert torch.equal(output(right, x).flatten(1, 2).flip(1), output(released, x).flatten(1, 2))
    assert not torch.allclose(output(right, x), output(released, x))


def test_freqmamba_takes_windows_for_rows() -> None:
    """A sequence of windows is laid out as if it were one of rows; right where a window is as wide as the map alone."""
    orders = "order windows = window(raster, 2, 2)"
    right, released = program(orders, "directions windows"), program(orders, "directions windows  windows writes raster")
    x = image(4, 6)
    cells = torch.tensor([6 * i + j for a in (0, 2) for b in (0, 2, 4) for i in (a, a + 1) for j in (b, b + 1)])
    sequence = halved(x[0].flatten(0, 1)[cells])
    assert torch.allclose(output(right, x)[0].flatten(0, 1)[cells], sequence)
    assert torch.allclose(output(released, x)[0].flatten(0, 1), sequence)
    assert not torch.allclose(output(right, x), output(released, x))
    assert torch.equal(output(right, image(4, 2)), output(released, image(4, 2)))


def test_vortexmamba_leaves_its_output_in_the_order_of_the_spiral() -> None:
    orders = "order outwards = reverse(spiral)"
    right, released = program(orders, "directions outwards"), program(orders, "directions outwards  outwards writes raster")
    x = image(3, 3)
    spiral = torch.tensor([4, 3, 6, 7, 8, 5, 2, 1, 0])
    sequence = halved(x[0].flatten(0, 1)[spiral])
    assert torch.allclose(output(right, x)[0].flatten(0, 1)[spiral], sequence)
    assert torch.allclose(output(released, x)[0].flatten(0, 1), sequence)
    assert not torch.allclose(output(right, x), output(released, x))


# Lengths taken for others.


def test_two_dimensional_vmamba_breaks_its_columns_where_rows_end() -> None:
    """2DVMamba restarts every w steps along the columns. Here a restart is said by a coordinate, not by a number of steps."""
    columns = program("order poles = reset(columns, every w)", "directions poles")
    starts = columns.traversal().at((3, 5)).restarts[0]
    assert np.flatnonzero(starts).tolist() == [3, 6, 9, 12]
    for h, w in ((3, 5), (4, 4)):
        x = image(h, w)
        sequence = x[0].transpose(0, 1).flatten(0, 1)
        got = output(columns, x)[0].transpose(0, 1).flatten(0, 1)
        assert torch.allclose(got, halved(sequence, tuple(range(h, h * w, h))))
        assert torch.allclose(got, halved(sequence, tuple(range(w, h * w, w)))) == (h == w)


def test_a_transposed_order_with_the_lengths_exchanged_is_rejected() -> None:
    """`view(H, W)` for what is W × H, as in VMamba's one_by_one and GroupMamba's backward."""
    exchanged = finding("grid h, w order o(t) = (t % h, t // w)")
    assert exchanged.startswith("S201")
    assert "steps 0 and 2 both visit cell (0, 0) when h = 2, w = 3; none visits (0, 2)" in exchanged
    outside = finding("grid h, w order o(t) = (t // h, t % h)")
    assert outside.startswith("S202")
    assert "step 4 is sent to (2, 0), outside the 2 × 3 grid" in outside


def test_vmamba_one_by_one_flattens_channels_into_the_map() -> None:
    """`flatten(1, 2)` of (B, C, H, W). An order knows no channels, and what each direction is given is its own."""
    assert finding("grid h, w order o(t) = (t // c, t % c)").startswith("S101")
    op = scanlang.compile(scanlang.load("std.vmamba"), "xv")
    x = image(3, 5)
    maps = {name: torch.rand(1, 3, 5, 4, 2, dtype=torch.float64) for name in ("low", "B", "C")}
    weights = {name: torch.rand(4, 2, 2, dtype=torch.float64) for name in ("dt_weight", "A_log")}
    weights |= {name: torch.rand(4, 2, dtype=torch.float64) for name in ("dt_bias", "D")}
    exchanged = {name: map_[:, :, :, [1, 0, 2, 3]] for name, map_ in maps.items()}
    assert not torch.allclose(op(x=x, **maps, **weights), op(x=x, **exchanged, **weights))


def test_vmamba_s_scans_3_is_no_order() -> None:
    """A mode that no branch handles is found before anything runs."""
    assert finding(HALVING.format(orders="", clauses="directions rotating")).startswith("S101")


# Streams in another order than the state.


def test_plainmamba_permutes_x_alone() -> None:
    """Step length, B and C stay in raster order: another function of the same weights, and the program has to say so."""
    text = scanlang.load("std.plainmamba")
    scans = ("plainmamba", "plainmamba_released")
    paper, released = (scanlang.Scan2d(text, scan, 4, state=2, rank=1).double() for scan in scans)
    released.load_state_dict(paper.state_dict())
    x, z = image(3, 4).repeat(1, 1, 1, 2), image(3, 4).repeat(1, 1, 1, 2)
    assert not torch.allclose(paper(x, z), released(x, z))
    moved = text.graph("plainmamba_released").stream_routes.keys() - text.graph("plainmamba").stream_routes.keys()
    assert moved == {"low", "B", "C"}


def test_mambairv2_forgets_to_sort_its_prompts() -> None:
    """What is added to C belongs to cells, but is left in raster order while the cells are sorted."""
    orders = "order sorted = input"
    right = program(orders, "directions sorted")
    released = program(orders, "directions sorted  operands g along raster")
    x, g = image(3, 4), image(3, 4).flip(1)
    by_prompt, unsorted = torch.randperm(12, generator=torch.Generator().manual_seed(1))[None], torch.arange(12)[None]
    sequence = halved(x[0].flatten(0, 1)[by_prompt[0]])
    op, other = scanlang.compile(right), scanlang.compile(released)
    got = op(x=x, g=g, sorted=by_prompt)[0].flatten(0, 1)[by_prompt[0]]
    assert torch.allclose(got, sequence * g[0].flatten(0, 1)[by_prompt[0]])
    got = other(x=x, g=g, sorted=by_prompt)[0].flatten(0, 1)[by_prompt[0]]
    assert torch.allclose(got, sequence * g[0].flatten(0, 1))
    assert torch.equal(op(x=x, g=g, sorted=unsorted), other(x=x, g=g, sorted=unsorted))


def test_vmamba_s_cascade_adds_its_backward_rows_mirrored() -> None:
    orders = "order line = reset(raster, every h)\norder line_back = reset((walk h, -w), every h)"
    right = program(orders, "directions line, line_back")
    released = program(orders, "directions line, line_back  line_back writes line")
    x = image(2, 5)
    forward, backward = (torch.stack([halved(row) for row in rows]) for rows in (x[0], x[0].flip(1)))
    assert torch.allclose(output(right, x)[0], forward + backward.flip(1))
    assert torch.allclose(output(released, x)[0], forward + backward)
    assert not torch.allclose(output(right, x), output(released, x))
    assert torch.equal(output(right, image(5, 1)), output(released, image(5, 1)))


# Cells that are missed, and cells that meet.


def es2d(step: int, more: str = "") -> str:
    """EfficientVMamba's four slices: phases 0 and 1, whatever the step."""
    phases = (("raster", 0, 0), ("columns", 1, 0), ("raster", 0, 1), ("columns", 1, 1))
    directions = ", ".join(f"dilate({order}, {step}, phase = ({a}, {b}))" for order, a, b in phases)
    return HALVING.format(orders="", clauses=f"directions {directions}  {more}")


@pytest.mark.parametrize(("step", "reached"), [(3, 64), (4, 36)])
def test_efficientvmamba_leaves_cells_unwritten_at_other_steps(step: int, reached: int) -> None:
    assert finding(es2d(step)).startswith("S210")
    loose = scanlang.loads(es2d(step, "uncovered = 0"))
    visits = sum(order.visits(12, 12) for order in loose.directions())
    assert (visits.max(), np.count_nonzero(visits)) == (1, reached)
    y = output(loose, image(12, 12))
    assert (y[0].flatten(0, 1)[torch.from_numpy(visits == 0)] == 0).all()


def test_efficientvmamba_covers_the_map_at_step_2() -> None:
    assert (sum(order.visits(5, 7) for order in scanlang.loads(es2d(2)).directions()) == 1).all()


def quadrants(size: int) -> NDArray[np.int64]:
    """QuadMamba's step of every cell: that of quarter windows in the first quadrant, of half windows elsewhere."""
    half, quarter = (scanlang.order(f"window(raster, {size // n}, {size // n})").ranks(size, size) for n in (2, 4))
    chosen = np.zeros((size, size), dtype=bool)
    chosen[: size // 2, : size // 2] = True
    return np.where(chosen.ravel(), quarter, half)


def test_quadmamba_puts_two_cells_into_one_step(tmp_path: Path) -> None:
    """One step in eight holds two cells, one in eight none: no order, in a file or given at run time."""
    ranks = quadrants(16)
    counts = np.bincount(ranks, minlength=256)
    assert [np.count_nonzero(counts == n) for n in (0, 1, 2)] == [32, 192, 32]
    np.save(tmp_path / "steps.npy", ranks.reshape(16, 16))
    (tmp_path / "quad.scan").write_text('grid h, w\norder quad = table("steps.npy")\n')
    with pytest.raises(ScanError) as caught:
        scanlang.load(tmp_path / "quad.scan")
    assert caught.value.diagnostics[0].code == "S149"
    given = program("order quad = input", "directions quad")
    with pytest.raises(ScanError) as caught:
        output(given, image(16, 16), quad=torch.from_numpy(ranks)[None])
    assert caught.value.diagnostics[0].code == "S508"


def test_quadmamba_s_quadrants_as_an_order() -> None:
    """Sorted by the same steps, ties by cell, they are one."""
    given = program("order quad = input", "directions quad")
    order = torch.from_numpy(np.argsort(quadrants(16), kind="stable"))
    got = output(given, image(16, 16), quad=order[None])[0].flatten(0, 1)[order]
    assert torch.allclose(got, halved(image(16, 16)[0].flatten(0, 1)[order]))


def test_a_spiral_backwards_is_not_a_spiral_turned() -> None:
    """Reversal in time and half a turn are two things: DiM, MaIR and EAMamba mean one or the other."""
    for name, same in (("raster", True), ("columns", True), ("snake", False), ("spiral", False), ("wrapped_diagonal", False)):
        assert (scanlang.order(f"reverse({name})") == scanlang.order(f"rotate({name}, 180)")) is same, name
