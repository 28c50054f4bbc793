"""Generated Triton modules compiled without a GPU: no spills, and no more registers or instructions than before.

`triton_machine_code.json` holds, per Triton version, what the assembler said when the table was written
(`python tests/test_triton_compile.py` writes it anew); a change may only lower it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import scanlang
from scanlang.codegen.driver import Job
from scanlang.codegen.gpu.choose_gpu_schedule import choose_gpu_schedule
from scanlang.codegen.gpu.emit_triton import emit_triton
from scanlang.codegen.gpu.machine_code import KernelCode, KernelReport, compile_module, innermost_loops
from scanlang.codegen.gpu.triton_layout import Layout, Shape
from scanlang.codegen.gpu.triton_layout import layout_of as of_schedule
from scanlang.codegen.schedule import Schedule

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
from operator_checks import program
from operator_programs import FEATURES, SIZES, VOLUMES
from triton_checks import cross, gated

pytestmark = pytest.mark.triton

TABLE = Path(__file__).parent / "triton_machine_code.json"
SHARED_MEMORY = {80: 163 << 10, 90: 227 << 10, 120: 99 << 10}

# name: (states, rank, channels, side, stream type, capability)
MODULES = {
    "cross-N1-C96-56x56-bf16-sm90": (1, 6, 96, 56, "bfloat16", 90),
    "cross-N1-C96-56x56-fp32-sm90": (1, 6, 96, 56, "float32", 90),
    "cross-N1-C192-14x14-bf16-sm90": (1, 6, 192, 14, "bfloat16", 90),
    "cross-N1-r12-C192-28x28-bf16-sm90": (1, 12, 192, 28, "bfloat16", 90),
    "cross-N1-r48-C768-7x7-bf16-sm90": (1, 48, 768, 7, "bfloat16", 90),
    "cross-N16-C96-56x56-bf16-sm90": (16, 6, 96, 56, "bfloat16", 90),
    "cross-N16-C192-14x14-fp32-sm90": (16, 6, 192, 14, "float32", 90),
    "cross-N1-C96-56x56-bf16-sm80": (1, 6, 96, 56, "bfloat16", 80),
    "cross-N1-C96-56x56-bf16-sm120": (1, 6, 96, 56, "bfloat16", 120),
    "gated-N4-C96-14x14-bf16-sm90": (4, 0, 96, 14, "bfloat16", 90),
}
SCHEDULED: dict[str, tuple[str, dict[str, object]]] = {
    "inputs loaded ahead": ("cross-N1-C96-56x56-bf16-sm90", {"ahead": True}),
    "cut into segments": ("cross-N16-C96-56x56-bf16-sm90", {"chunk": 4, "segments": 16}),
    "products of rank 12 before": (
        "cross-N1-r12-C192-28x28-bf16-sm90",
        {"products": "before", "chunk": 4, "backward_chunk": 4},
    ),
    "two channels a lane": ("cross-N1-r12-C192-28x28-bf16-sm90", {"lanes": 64}),
}
"""Other schedules of these modules."""
ALONE: dict[str, Any] = {"abreast": 1, "warps": 1, "fetch": False}
ASKED = {
    "tokens, convolution": "conv-tokens",
    "rows visited twice": "twice",
    "channels split": "split-parts",
    "tables of every image": "given-two",
    "labels": "labels",
}
"""What a program may ask beyond one pass of all cells and channels: programs of `operator_programs`, for 14 × 14 cells."""
RECURRENCES = {
    "mlstm-N16-P32": ("mlstm", "input v recur mlstm(state = 16, head = 32) project q, k, i, f from v"),
    "s4d-N16": ("s4d", "recur s4d(state = 16)"),
    "rg_lru": ("rg_lru", "recur rg_lru() project r, i from x"),
    "wkv": ("wkv", "input x recur wkv() project k, v from x"),
}
"""Of the library: the file and what a scan says of it, for one direction of 16 × 16 cells."""
EXAMPLES = Path(__file__).parents[1] / "examples"
SLOW_SCANS = {"one_direction", "bidirectional", "gated", "snakes"}
TABLED = (*MODULES, *SCHEDULED, *ASKED, *RECURRENCES)
LONG = {name for name in MODULES if "fp32" in name or "sm80" in name}
LONG |= {"mlstm-N16-P32", "cut into segments", "two channels a lane"}
QUICK = {*ASKED.values(), "reset-conv", "split-uneven", "concat-tokens", "along"}


@cache
def layout_of(name: str) -> tuple[Layout, int]:
    if name in SCHEDULED:
        plain, changes = SCHEDULED[name]
        made, capability = layout_of(plain)
        schedule = replace(made.schedule, **{**ALONE, **changes})  # type: ignore[arg-type]
        return of_schedule(made.kernels, made.traversal, schedule, made.shape), capability
    if name in ASKED:
        return small_job(ASKED[name]).layout, 90
    if name in RECURRENCES:
        file, clauses = RECURRENCES[name]
        text = f"grid h, w import std.{file} scan s(dim) {{ directions raster {clauses} }}"
        return Job(scanlang.loads(text), "s", "sm_90", (16, 16), 96, "bfloat16").layout, 90
    states, rank, channels, side, dtype, capability = MODULES[name]
    kernels, traversal = cross(state=states, rank=rank) if name.startswith("cross") else gated()
    types = [(stream.name, dtype) for stream in kernels.streams]
    types += [(parameter.name, "float32") for parameter in kernels.parameters]
    shape = Shape((side, side), channels, tuple(types))
    return of_schedule(kernels, traversal, choose_gpu_schedule(kernels, traversal, shape, 128), shape), capability


def small_job(name: str) -> Job:
    loaded = program(name)
    size = SIZES.get(name, (14, 14))
    return Job(loaded, loaded.scan_name(None), "sm_90", size, 96, "bfloat16")


@cache
def compiled(name: str) -> tuple[KernelCode, ...]:
    return compile_module(*layout_of(name))


def emitted(layout: Layout) -> str:
    return emit_triton(layout.kernels, layout.traversal, layout.schedule, layout.shape)


def figures(report: KernelReport) -> dict[str, float]:
    return {"registers": report.registers, "instructions_per_step": report.instructions_per_step}


def module_parameters() -> list[object]:
    return [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in TABLED]


@pytest.mark.parametrize("name", module_parameters())
def test_machine_code(name: str) -> None:
    import triton

    known = json.loads(TABLE.read_text()).get(triton.__version__, {}).get(name)
    _, capability = layout_of(name)
    for code in compiled(name):
        report = code.report
        assert report.spills == 0, f"{report.name} spills {report.spills} bytes"
        assert report.registers <= 255
        assert report.shared <= SHARED_MEMORY[capability]
        assert f".target sm_{capability}" in code.ptx
        assert len(code.cubin) > 1000
        if known is not None:
            for figure, value in figures(report).items():
                assert value <= known[report.name][figure], f"{report.name}: {figure}"


def shipped_scans() -> list[object]:
    """Every scan that a file of examples/ defines itself."""
    found = []
    for path in sorted(EXAMPLES.glob("*.scan")):
        for scan in re.findall(r"^scan (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            marks = [pytest.mark.long] if scan in SLOW_SCANS else []
            found.append(pytest.param(path, scan, marks=marks, id=f"{path.stem}-{scan}"))
    return found


@pytest.mark.parametrize(("path", "scan"), shipped_scans())
def test_no_shipped_program_spills(path: Path, scan: str) -> None:
    codes = Job(scanlang.load(path), scan, "sm_90", (14, 14), 64, "bfloat16").machine_code
    assert {"forward", "backward"} <= {code.report.name for code in codes}
    for code in codes:
        assert code.report.spills == 0, f"{code.report.name} spills {code.report.spills} bytes"
        assert code.report.registers <= 255


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long]) for name in (*FEATURES, *VOLUMES)]
)
def test_nothing_that_a_program_asks_spills(name: str) -> None:
    """More than a value or two, which an assembler puts aside that aims at 128 registers."""
    job = small_job(name)
    for one in (job, job.before) if job.before else (job,):
        for code in one.machine_code:
            assert code.report.spills <= 16, f"{code.report.name} spills {code.report.spills} bytes"
            assert code.report.registers <= 255


def test_this_triton_version_is_in_the_table() -> None:
    import triton

    table = json.loads(TABLE.read_text())
    assert {"3.6.0", "3.9.0"} <= set(table)
    if triton.__version__ in table:
        assert set(table[triton.__version__]) == set(TABLED)


def test_a_walk_issues_the_instructions_its_loop_shows() -> None:
    forward, backward, _ = (code.report for code in compiled("cross-N1-C96-56x56-bf16-sm90"))
    assert 40 < forward.instructions_per_step < 60
    assert 100 < backward.instructions_per_step < 145
    assert forward.exponentials_per_step == 2.0  # exp(-|z|) of softplus, and the decay
    assert backward.exponentials_per_step == 3.0  # and one reciprocal square root


def test_every_turn_of_a_walk_fetches_lines_once() -> None:
    """Of x, low, B and C; the backward those of the output's gradient and of the saved states, too."""
    forward, backward = compiled("cross-N1-C96-56x56-bf16-sm90")[:2]
    for code, arrays in ((forward, 4), (backward, 6)):
        loops = [sum(one.startswith("CCTL.E.PF1") for one in loop) for loop in innermost_loops(code.sass)]
        assert [count for count in loops if count] == [arrays] * 4


def test_pointwise_kernels_read_words_and_exchange_nothing() -> None:
    """Four neighbours at once of every map, however narrow its type: `merge` reads four directions' outputs."""
    merge = compiled("cross-N1-C96-56x56-bf16-sm90")[2]
    assert re.findall(r"LDG\S*", merge.sass) == ["LDG.E.128"] * 4
    for name in ("cross-N1-C96-56x56-bf16-sm90", "tables of every image"):
        for code in compiled(name)[2:]:
            assert code.report.shared == 0, code.report.name


def test_products_made_before_leave_few_instructions() -> None:
    """The rule has them made before for rank 48: a step inside has 160, and 545 backward."""
    layout, _ = layout_of("cross-N1-r48-C768-7x7-bf16-sm90")
    assert layout.schedule.products == "before"
    forward, backward = (code.report for code in compiled("cross-N1-r48-C768-7x7-bf16-sm90")[:2])
    assert forward.instructions_per_step < 60
    assert backward.instructions_per_step < 110


def test_a_table_costs_some_instructions_more() -> None:
    layout, capability = layout_of("cross-N1-C96-56x56-bf16-sm90")
    table = Layout(layout.kernels, layout.traversal, Schedule("table", "partials", 32, 8, 8), layout.shape)
    by_table, by_nest = compile_module(table, capability)[0].report, compiled("cross-N1-C96-56x56-bf16-sm90")[0].report
    assert by_table.spills == 0
    assert by_nest.instructions_per_step < by_table.instructions_per_step < by_nest.instructions_per_step + 20


def test_other_versions_warn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from scanlang.codegen.gpu import build_triton

    build_triton._warn_of_untested_version.cache_clear()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "3.7.1")
    with pytest.warns(UserWarning, match=r"tested with Triton 3\.6 and 3\.9; this is 3\.7\.1"):
        build_triton._warn_of_untested_version()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_triton._warn_of_untested_version()
    build_triton._warn_of_untested_version.cache_clear()


def test_innermost_loops_of_a_listing() -> None:
    listing = """
.L_x_1:
        /*0000*/                   MOV R1, R2 ;
.L_x_2:
        /*0010*/                   LDG.E R3, desc[UR4][R4.64] ;
        /*0020*/              @!P0 BRA `(.L_x_2) ;
        /*0030*/               @P1 BRA `(.L_x_1) ;
.L_x_3:
        /*0040*/                   BRA `(.L_x_3);
        /*0050*/                   NOP;
"""
    assert innermost_loops(listing) == [["LDG.E R3, desc[UR4][R4.64]", "BRA `(.L_x_2)"], ["BRA `(.L_x_3)"]]


def test_the_text_is_the_same_in_every_process_and_passes_the_linter(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_triton_compile import layout_of\nfrom scanlang.codegen.gpu.emit_triton import emit_triton\n"
        "l = layout_of('gated-N4-C96-14x14-bf16-sm90')[0]\n"
        "print(emit_triton(l.kernels, l.traversal, l.schedule, l.shape), end='')"
    )
    texts = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", program, str(Path(__file__).parent)]
        texts.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(texts) == 1
    (text,) = texts
    path = tmp_path / "generated.py"
    path.write_text(text)
    lint = subprocess.run([sys.executable, "-m", "ruff", "check", "--isolated", str(path)], capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout


def test_the_text_says_where_it_comes_from() -> None:
    layout, _ = layout_of("cross-N1-C96-56x56-bf16-sm90")
    text = emitted(layout)
    head = ast.get_docstring(ast.parse(text))
    assert head is not None
    assert "directions  rows, columns, reverse(rows), reverse(columns)" in head
    assert "56 x 56 cells, 96 channels" in head
    assert "addressing nest, merge partials, lanes 32, chunk 8" in head
    assert "    # selective.scan:" in text
    assert max(map(len, text.splitlines())) <= 160


def test_nests_walk_without_tables_and_divisions() -> None:
    layout, _ = layout_of("cross-N1-C96-56x56-bf16-sm90")
    text = emitted(replace(layout, schedule=replace(layout.schedule, **ALONE)))
    assert "table" not in text.split("import triton", 1)[1]
    assert "for i0 in range(56):" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "warps 1"),
        ({"ahead": True}, "inputs loaded ahead"),
        ({"products": "before"}, "warps 1, products made before"),
        ({"segments": 4, "fetch": True}, "warps 1, 4 segments, lines fetched"),
        ({"abreast": 2, "warps": 2}, "warps 2, 2 chunks abreast"),
    ],
    ids=["alone", "ahead", "before", "segments", "abreast"],
)
def test_the_head_says_the_whole_schedule(changes: dict[str, object], said: str) -> None:
    layout, _ = layout_of("cross-N1-C96-56x56-bf16-sm90")
    schedule = replace(layout.schedule, **{**ALONE, **changes})
    text = emitted(of_schedule(layout.kernels, layout.traversal, schedule, layout.shape))
    (line,) = re.findall("^schedule.*$", text, re.MULTILINE)
    assert line.endswith(said)


def test_the_text_has_what_is_asked() -> None:
    texts = {name: emitted(small_job(name).layout) for name in ("reset", "twice", "split-parts", "along")}
    assert "p_0restart" in texts["reset"]
    assert "l0_output" in texts["twice"]
    assert "l0_output" not in texts["along"]
    assert "o0_cell_1 = tl.load(table + " in texts["along"]
    assert "n_k" in texts["split-parts"]


def test_only_what_is_asked_costs() -> None:
    """Nothing of it is in the text of a program that asks for nothing."""
    text = emitted(layout_of("cross-N1-C96-56x56-bf16-sm90")[0])
    assert not re.search(r"i_step|l0_output|o0_cell_|n_k|timed", text)


def test_offsets_beyond_32_bits_are_wide() -> None:
    layout, _ = layout_of("cross-N1-C96-56x56-bf16-sm90")
    shape = Shape((8192, 8192), 96, layout.shape.dtypes)
    huge = Layout(layout.kernels, layout.traversal, layout.schedule, shape)
    assert huge.wide
    assert not layout.wide
    assert "o_cell.to(tl.int64)" in emitted(huge)


def write_table() -> None:
    import triton

    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    measured = {name: {code.report.name: figures(code.report) for code in compiled(name)} for name in TABLED}
    table[triton.__version__] = measured
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write_table()
