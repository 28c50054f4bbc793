"""Every message as a user sees it: `errors/CODE_slug.scan` is a wrong program, `errors/CODE_slug.err` its whole text.

A new case is a new `.scan` file; where the program is right and its use is not, `PROVOKED` has the use. `python
tests/test_errors.py` writes the `.err` of every case anew, to be read in the diff; `python tests/test_errors.py S001 S2`
only of those codes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

import scanlang
from scanlang.codegen.backend import choose_backend
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.diagnostics import ScanError
from scanlang.errors import CATALOGUE
from scanlang.explain import catalogue_markdown, explain
from scanlang.pipeline import check_text
from scanlang.syntax.text import read_source

FOLDER = Path(__file__).parent / "errors"
CASES = sorted(FOLDER.glob("S*.scan"))
DOCUMENT = Path(__file__).parents[1] / "docs" / "errors.md"


def check(case: Path) -> object:
    """A file beside its imports, but for S107, which is about programs without a folder."""
    return check_text(read_source(case, name=case.name), None if case.stem.startswith("S107") else FOLDER)


def check_at(case: Path, *sizes: tuple[int, ...]) -> object:
    return check_text(read_source(case, name=case.name), FOLDER, sizes)


def load(case: Path, **options: Any) -> scanlang.Program:
    return scanlang.loads(case.read_text(encoding="utf-8"), case.name, **options)


def call(case: Path, **changed: Any) -> object:
    """The operator of the cases S502 … S510 on tensors that fit, but for those `changed` (left out where None)."""
    ones = {"x": (1, 2, 3, 4), "B": (1, 2, 3, 2, 2), "a": (2, 4, 2)}
    arguments = {name: torch.ones(shape) for name, shape in ones.items()} | changed
    return scanlang.compile(load(case))(**{name: value for name, value in arguments.items() if value is not None})


def differentiate_twice(case: Path) -> None:
    x = torch.ones(1, 2, 3, 4, requires_grad=True)
    result = call(case, x=x)
    assert isinstance(result, torch.Tensor)
    (gradient,) = torch.autograd.grad((result * x).sum(), x, create_graph=True)
    gradient.square().sum().backward()


def run_without_triton(case: Path) -> object:
    graph = load(case).operator_graph()
    kernels = lower_to_kernels(graph, {"state": 2})
    with patch("importlib.util.find_spec", return_value=None):
        return choose_backend(kernels, graph.traversal, "cuda", graph.step.body[0].span)


PROVOKED: dict[str, Callable[[Path], object]] = {
    "S205_no_cells": lambda case: load(case, sizes=[(0, 4)]),
    "S205_no_proof": lambda case: load(case, sizes=[(4, 4), (40_000, 40_000)]),
    "S205_another_grid": lambda case: check_at(case, (14, 14)),
    "S206_beyond_the_end": lambda case: check_at(case, (7, 7)),
    "S206_in_a_window": lambda case: check_at(case, (2, 4)),
    "S207_spread": lambda case: check_at(case, (3, 3)),
    "S208_shape": lambda case: check_at(case, (3, 3)),
    "S211_windows": lambda case: check_at(case, (4, 4)),
    "S401_state": lambda case: scanlang.Scan2d(load(case), channels=4)(torch.ones(1, 2, 3, 4)),
    "S501_no_scan": lambda case: scanlang.compile(load(case)),
    "S501_no_such_scan": lambda case: scanlang.compile(load(case), scan="leek"),
    "S501_two_scans": lambda case: scanlang.compile(load(case)),
    "S502_channels": lambda case: call(case, a=torch.ones(2, 3, 2)),
    "S502_rank": lambda case: call(case, x=torch.ones(2, 3, 4)),
    "S503_integers": lambda case: call(case, x=torch.ones(1, 2, 3, 4, dtype=torch.int64)),
    "S503_not_a_tensor": lambda case: call(case, a=1.5),
    "S504_meta": lambda case: call(case, a=torch.ones(2, 4, 2, device="meta")),
    "S505_missing": lambda case: call(case, B=None, a=None),
    "S505_unknown": lambda case: call(case, z=torch.ones(1, 2, 3, 4)),
    "S506_no_triton": run_without_triton,
    "S507_tokens": lambda case: call(
        case,
        **{
            name: torch.ones(1, 2, *shape)
            for name, shape in {"cls": (4,), "reg": (4,), "B_cls": (2, 2), "B_reg": (2, 2)}.items()
        },
    ),
    "S508_outside": lambda case: call(case, mine=torch.tensor([[0, 1, 2, 3, 4, 6]])),
    "S508_twice": lambda case: call(case, mine=torch.tensor([[5, 1, 2, 3, 1, 0]], dtype=torch.int32)),
    "S509_call": lambda case: call(case, a=torch.ones(4, 2)),
    "S509_module": lambda case: scanlang.Scan2d(load(case), channels=4),
    "S510_no_tensor": lambda case: call(case, g=lambda value: (value, value)),
    "S510_channels": lambda case: call(case, g=lambda value: value.repeat(1, 1, 2)),
    "S510_shape": lambda case: call(case, g=lambda value: value[..., :3]),
    "S511_beyond_list": lambda case: scanlang.compile(load(case), layer=2),
    "S512_heads": lambda case: scanlang.Scan2d(load(case), channels=10, head=4),
    "S512_groups": lambda case: scanlang.Scan2d(load(case), channels=12, head=4),
    "S512_split": lambda case: scanlang.Scan2d(load(case), channels=12, head=4),
    "S513_two_states": lambda case: call(case, h0=torch.zeros(1, 2, 4, 2)),
    "S514_unknown": lambda case: call(case, h0={"H": torch.zeros(1, 2, 4, 2)}),
    "S515_scale": lambda case: call(case, h0={"b": torch.zeros(1, 2, 4)}),
    "S516_twice": differentiate_twice,
    "S520_misspelt": lambda case: scanlang.load("std.vmanba"),
    "S511_negative": lambda case: scanlang.Scan2d(load(case), channels=4, layer=-1),
}


def finding(case: Path) -> ScanError:
    with pytest.raises(ScanError) as caught:
        PROVOKED.get(case.stem, check)(case)
    return caught.value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_message_is_the_expected_text(case: Path) -> None:
    assert f"{finding(case)}\n" == case.with_suffix(".err").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_first_code_is_the_one_in_the_name(case: Path) -> None:
    assert finding(case).diagnostics[0].code == case.stem.split("_")[0]


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_has_a_case(code: str) -> None:
    assert any(case.stem.startswith(f"{code}_") for case in CASES), f"no tests/errors/{code}_*.scan"


def test_every_provoked_case_is_a_right_program() -> None:
    of_sizes = ("S205", "S206", "S207", "S208", "S211")
    assert PROVOKED.keys() == {case.stem for case in CASES if case.stem[:2] in ("S4", "S5") or case.stem[:4] in of_sizes}
    for stem in PROVOKED:
        check(FOLDER / f"{stem}.scan")


def test_every_expected_text_has_its_program() -> None:
    assert {path.stem for path in FOLDER.glob("*.err")} == {path.stem for path in FOLDER.glob("*.scan")}


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_is_explained_with_programs(code: str) -> None:
    text = explain(code)
    assert text.startswith(f"## {code}\n")
    assert text.count("```") >= 4, "a wrong and a right program"


def test_unknown_code_names_near_ones() -> None:
    with pytest.raises(KeyError, match="S001"):
        explain("S0001")


def test_document_is_the_catalogue() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == catalogue_markdown(), "python -m scanlang.explain > docs/errors.md"


if __name__ == "__main__":
    chosen = [path for path in CASES if path.stem.startswith(tuple(sys.argv[1:]) or ("S",))]
    for path in chosen:
        path.with_suffix(".err").write_text(f"{finding(path)}\n", encoding="utf-8")
