"""Every message as a user sees it: `errors/CODE_slug.scan` is a wrong program, `errors/CODE_slug.err` its whole text.

A new case is a new `.scan` file; where the program is right and its use is not, `PROVOKED` has the use. `python
tests/test_errors.py` writes the `.err` of every case anew, to be read in the diff; `python tests/test_errors.py S001 S2`
only of those codes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import chdir
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
import torch

import scanlang
from scanlang import backbones, viz
from scanlang.backbones.weights.convert import published_weights
from scanlang.codegen.backend import choose_backend
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.diagnostics import ScanError
from scanlang.errors import CATALOGUE
from scanlang.explain import catalogue_markdown, explain
from scanlang.networks.count import count
from scanlang.networks.instantiate import instantiate, instantiate_block
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


def call(case: Path, **changed: Any) -> Any:
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


def count_at(case: Path, *size: int) -> object:
    program = load(case)
    return count(instantiate(program.backbones["b"], program.axes), size)


def in_folder(name: str, content: bytes, use: Callable[[str], object]) -> object:
    """What `use` makes of a file of that name, in a folder of its own."""
    with TemporaryDirectory() as folder, chdir(folder):
        Path(name).write_bytes(content)
        return use(name)


def of_torch(held: object) -> bytes:
    file = BytesIO()
    torch.save(held, file)
    return file.getvalue()


def save_with_strange_scan(case: Path) -> None:
    model = scanlang.Backbone(load(case), core=scanlang.load("std.vmamba").scans["bidi"])
    backbones.save(model, "model.safetensors")


def convert(case: Path, *, without: str = "", **changed: torch.Tensor) -> object:
    """Weights as published for the first program of these, into the case's; names have `__` for points."""
    published = published_weights(scanlang.Backbone(load(FOLDER / "S530_one_missing.scan")))
    changes = {name.replace("__", "."): weight for name, weight in changed.items()}
    weights = {name: weight for name, weight in (published | changes).items() if name != without}
    return backbones.convert_weights(weights, scanlang.Backbone(load(case)))


PROVOKED: dict[str, Callable[[Path], object]] = {
    "S205_no_cells": lambda case: load(case, sizes=[(0, 4)]),
    "S205_no_proof": lambda case: load(case, sizes=[(4, 4), (40_000, 40_000)]),
    "S205_another_grid": lambda case: check_at(case, (14, 14)),
    "S206_beyond_the_end": lambda case: check_at(case, (7, 7)),
    "S206_in_a_window": lambda case: check_at(case, (2, 4)),
    "S207_spread": lambda case: check_at(case, (3, 3)),
    "S208_shape": lambda case: check_at(case, (3, 3)),
    "S211_windows": lambda case: check_at(case, (4, 4)),
    "S345_patches": lambda case: count_at(case, 8, 8),
    "S316_misspelt": lambda case: instantiate(load(case).backbones["net"], ("h", "w"), {"dim": 8, "num_clases": 10}),
    "S316_missing": lambda case: instantiate_block(load(case).blocks["b"]),
    "S401_state": lambda case: scanlang.Scan2d(load(case), channels=4)(torch.ones(1, 2, 3, 4)),
    "S501_no_scan": lambda case: scanlang.compile(load(case)),
    "S501_no_such_scan": lambda case: scanlang.compile(load(case), scan="leek"),
    "S501_two_scans": lambda case: scanlang.compile(load(case)),
    "S501_block": lambda case: scanlang.compile(load(case), scan="mixer"),
    "S501_backbone": lambda case: scanlang.compile(load(case), scan="tiny"),
    "S501_number": lambda case: scanlang.Scan2d(load(case), 8),  # type: ignore[arg-type]
    "S502_channels": lambda case: call(case, a=torch.ones(2, 3, 2)),
    "S502_rank": lambda case: call(case, x=torch.ones(2, 3, 4)),
    "S503_integers": lambda case: call(case, x=torch.ones(1, 2, 3, 4, dtype=torch.int64)),
    "S503_not_a_tensor": lambda case: call(case, a=1.5),
    "S503_half": lambda case: scanlang.Scan2d(load(case), channels=4)(torch.ones(1, 2, 3, 4, dtype=torch.float16)),
    "S503_return_state": lambda case: call(case, return_state="yes"),
    "S504_meta": lambda case: call(case, a=torch.ones(2, 4, 2, device="meta")),
    "S505_missing": lambda case: call(case, B=None, a=None),
    "S505_unknown": lambda case: call(case, z=torch.ones(1, 2, 3, 4)),
    "S505_two_inputs": lambda case: scanlang.Scan2d(load(case), channels=4)(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4)),
    "S505_misspelt": lambda case: call(case, h_0=torch.zeros(1, 2, 4, 2)),
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
    "S517_torch_func": lambda case: torch.func.grad(lambda x: call(case, x=x).sum())(torch.ones(1, 2, 3, 4)),
    "S517_forward_mode": lambda case: torch.func.jvp(lambda x: call(case, x=x), *[(torch.ones(1, 2, 3, 4),)] * 2),
    "S520_misspelt": lambda case: scanlang.load("std.vmanba"),
    "S530_one_missing": lambda case: convert(case, without="layers.0.mixer.D_b"),
    "S530_own_layer": lambda case: convert(case, pos_embed=torch.zeros(1, 197, 16)),
    "S531_more_layers": lambda case: convert(case, layers__1__mixer__D=torch.zeros(32), head__scale=torch.zeros(1)),
    "S532_classes": lambda case: convert(case, head__weight=torch.zeros(1000, 16), head__bias=torch.zeros(1000)),
    "S533_another_network": lambda case: backbones.convert_weights(
        {"conv1.weight": torch.zeros(3)}, scanlang.Backbone(load(case))
    ),
    "S534_closer_patches": lambda case: convert(case, pos_embed=torch.zeros(1, 26, 16)),
    "S535_cut_off": lambda case: in_folder("vim.pth", of_torch({"a": torch.ones(9)})[:200], backbones.read_published),
    "S535_web_page": lambda case: in_folder("vim.pth", b"<!doctype html>", backbones.read_published),
    "S536_function": lambda case: in_folder("vim.pth", of_torch({"model": {}, "draw": print}), backbones.read_published),
    "S537_weights_alone": lambda case: in_folder("vim.pth", of_torch({"a": torch.ones(9)}), backbones.load),
    "S538_misspelt": lambda case: backbones.create_model("vim_tinny"),
    "S538_own_program": lambda case: backbones.create_model("leak", program=load(case)),
    "S539_scan_of_nowhere": save_with_strange_scan,
    "S539_no_backbone": lambda case: backbones.save(torch.nn.Linear(2, 2), "model.safetensors"),
    "S521_channels_last": lambda case: scanlang.Backbone(load(case))(torch.ones(1, 8, 8, 3)),
    "S521_no_cells": lambda case: scanlang.Backbone(load(case))(torch.ones(1, 3, 0, 8)),
    "S521_integers": lambda case: scanlang.Backbone(load(case))(torch.ones(1, 3, 8, 8, dtype=torch.int64)),
    "S522_indices": lambda case: scanlang.Backbone(load(case)).forward_intermediates(torch.ones(1, 3, 8, 8), [0, 2]),
    "S522_pool": lambda case: scanlang.Backbone(load(case)).reset_classifier(10, "gem"),
    "S523_two_backbones": lambda case: scanlang.Backbone(load(case)),
    "S523_misspelt": lambda case: scanlang.Block(load(case), "stam", dim=4),
    "S524_no_formal": lambda case: scanlang.Backbone(load(case)).reset_classifier(10),
    "S524_no_head": lambda case: scanlang.Backbone(load(case)).reset_classifier(10),
    "S525_conv": lambda case: scanlang.Backbone(load(case)).forward_head(torch.ones(1, 65, 4)),
    "S526_rank": lambda case: scanlang.Block(load(case), dim=4)(torch.ones(1, 8, 4)),
    "S526_token": lambda case: scanlang.Block(load(case), dim=4)(torch.ones(1, 4, 4, 4), cls=torch.ones(1, 1, 4)),
    "S526_two_maps": lambda case: scanlang.Block(load(case), dim=4)(torch.ones(1, 8, 8, 4)),
    "S540_cell": lambda case: viz.influence(scanlang.Scan2d(load(case), channels=4), torch.ones(1, 2, 3, 4), (2, 3)),
    "S540_scan": lambda case: viz.influence(scanlang.Backbone(load(case)), torch.ones(1, 3, 2, 3), (0, 0)),
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
    of_calls = ("S205", "S206", "S207", "S208", "S211", "S316", "S345")
    assert PROVOKED.keys() == {case.stem for case in CASES if case.stem[:2] in ("S4", "S5") or case.stem[:4] in of_calls}
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
