"""Which recurrences are products of keys and values, what is left of them besides, and when a GPU takes them in chunks."""

from __future__ import annotations

from pathlib import Path

import pytest
from chunked_programs import BODIES, CLAUSES, ORDERS, SSD, WITHOUT, program

import scanlang
from scanlang.codegen.gpu.addressing import addressing
from scanlang.codegen.gpu.choose_chunked import CHUNK, why_sequential
from scanlang.codegen.gpu.choose_gpu_schedule import choose_gpu_schedule, sequential_schedule
from scanlang.codegen.gpu.triton_layout import Shape
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.graph.matrix_form import MatrixForm, matrix_form
from scanlang.maps.traversal import Traversal

STD = Path(scanlang.__file__).parent / "std"


def form_of(body: str, clauses: str = CLAUSES["two"]) -> MatrixForm | None:
    return matrix_form(scanlang.compile(program(body, clauses)).graph.step)


def lines(body: str) -> list[str]:
    form = form_of(body)
    assert form is not None
    return [str(equation).replace("[channel.]", "[p]") for equation in form.step.body]


@pytest.mark.parametrize("name", BODIES)
def test_has_the_form(name: str) -> None:
    assert form_of(BODIES[name]) is not None


@pytest.mark.parametrize("name", WITHOUT)
def test_has_no_form(name: str) -> None:
    assert form_of(WITHOUT[name]) is None


@pytest.mark.parametrize(
    ("file", "scan"),
    [("ssd", "ssd2d"), ("ssd", "ssd_grouped2d"), ("gla", "gla2d"), ("retention", "retention2d"),
     ("linear_attention", "linear_attention2d")],
)  # fmt: skip
def test_the_library_has_the_form(file: str, scan: str) -> None:
    assert matrix_form(scanlang.compile(STD / f"{file}.scan", scan).graph.step) is not None


@pytest.mark.parametrize("file", ["selective", "mlstm", "wkv", "rg_lru"])
def test_the_library_without_it(file: str) -> None:
    loaded = scanlang.load(STD / f"{file}.scan")
    assert all(matrix_form(scanlang.compile(loaded, scan).graph.step) is None for scan in loaded.checked.scans)


def test_ssd() -> None:
    made = lines(SSD)
    assert [line for line in made if line.startswith("core.")] == [
        "core.log_decay = fixed.0 * d",
        "core.weight = d",
        "core.key[n] = B[n]",
        "core.value[p] = x[p]",
        "core.query[n] = C[n]",
    ]
    assert made[-1] == "y[p] = core.read[p] + D[p] * x[p]"


def test_a_normaliser_is_part_of_it() -> None:
    form = form_of(BODIES["normalised"])
    assert form is not None
    assert (form.state, form.normaliser, form.decays) == ("S", "z", False)
    assert "core.mass = 1" in lines(BODIES["normalised"])


def test_the_readout_of_the_state_before() -> None:
    form = form_of(BODIES["bonus"])
    assert form is not None
    assert form.exclusive
    assert form.by_row
    assert lines(BODIES["bonus"])[-1] == "y[p] = core.read[p] + x[p] * sum(n: u[n] * k[n] * r[n])"


def test_signs_of_decays() -> None:
    form = form_of(BODIES["retention"])
    assert form is not None
    assert form.signed
    assert {"core.sign = gamma", "core.log_decay = log(max(abs(gamma), 1e-30))"} <= set(lines(BODIES["retention"]))
    gate = form_of("""input x[p], k[n], g
      S[n, p] = (1 - sigmoid(g)) * S[n, p] + k[n] * x[p]
      y[p]    = sum(n: k[n] * S[n, p])""")
    assert gate is not None
    assert not gate.signed


def test_restarts_are_part_of_it() -> None:
    form = form_of(BODIES["bonus"], CLAUSES["restarts"])
    assert form is not None
    assert form.restarts


def test_gradients_are_sums_over_what_has_one_value() -> None:
    form = form_of(BODIES["bonus"])
    assert form is not None
    gradients = {name: str(value) for name, value in form.adjoint.gradients.items()}
    assert "channel." in gradients["u"]
    assert set(gradients) == {"core.read", "x", "k", "r", "w", "u"}


# When a GPU takes chunks.


def made(body: str = SSD, clauses: str = CLAUSES["two"], **sizes: int) -> tuple[ScanKernels, Traversal]:
    op = scanlang.compile(program(body, clauses, **sizes))
    return lower_to_kernels(op.graph, {"state": 16, "head": 16, **sizes}), op.graph.traversal


@pytest.mark.parametrize(
    ("body", "clauses", "sizes", "grid", "why"),
    [
        (SSD, "two", {}, (8, 8), None),
        (BODIES["retention"], "tokens", {}, (8, 8), None),
        (SSD, "two", {"state": 4}, (8, 8), "a state of 4 rows"),
        (SSD, "two", {"head": 8}, (8, 8), "units of 8 channels"),
        (SSD, "two", {}, (3, 5), "15 steps"),
        (WITHOUT["a scale"], "two", {}, (8, 8), "the recurrence is no product of a key and a value"),
    ],
)
def test_the_choice(body: str, clauses: str, sizes: dict[str, int], grid: tuple[int, int], why: str | None) -> None:
    kernels, traversal = made(body, CLAUSES[clauses], **sizes)
    assert why_sequential(kernels, traversal, grid) == why
    chosen = choose_gpu_schedule(kernels, traversal, Shape(grid, 32, ()), 1)
    assert chosen.kind == ("chunked" if why is None else "sequential")
    assert chosen == sequential_schedule(kernels, traversal, Shape(grid, 32, ()), 1) or why is None
    if why is None:
        assert (chosen.chunk, chosen.addressing, chosen.lanes) == (CHUNK, "table", 16)
        assert addressing(kernels, traversal, grid)[0][0] == "table"


def test_what_chunks_do_not_do() -> None:
    kernels, traversal = made()
    assert why_sequential(kernels, traversal, (8, 8), "float64") == "matrix products are in float32"
    twice = "directions twice, rows"
    loaded = scanlang.loads(
        f"{ORDERS}order twice = concat(rows, reverse(columns))\n"
        f"recurrence r(state n, head p) {{ {SSD} }}\nscan s(dim) {{ input x, dt  {twice}  recur r(state = 16, head = 16) }}"
    )
    op = scanlang.compile(loaded)
    repeated = lower_to_kernels(op.graph, {"state": 16, "head": 16})
    assert why_sequential(repeated, op.graph.traversal, (4, 5)) == "a direction visits a row twice"
