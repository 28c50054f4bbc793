"""The examples on tiny sizes: every program compiles, every script has a main, and what they compute and draw is right."""

from __future__ import annotations

import importlib
import io
from pathlib import Path

import demo
import own_recurrence
import pytest
import torch
from click.testing import CliRunner
from common import photograph, receptive_field
from common.progress import Progress

import scanlang

EXAMPLES = Path(__file__).parent.parent / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.scan"))
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def cross() -> scanlang.Scan2d:
    torch.manual_seed(0)
    return scanlang.Scan2d(scanlang.load(EXAMPLES / "cross_scan.scan"), "cross", 12)


@pytest.fixture
def photo() -> torch.Tensor:
    return torch.rand(20, 28, 3, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_program_compiles(path: Path) -> None:
    program = scanlang.load(path)
    assert program.scans
    for scan in program.scans:
        assert scanlang.compile(program, scan).signature.scan == scan


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_has_main(path: Path) -> None:
    module = importlib.import_module(path.stem)
    assert Path(str(module.__file__)) == path
    assert callable(module.main)
    assert module.__doc__


def test_own_recurrence_is_checked_and_learns() -> None:
    program = scanlang.load(own_recurrence.PROGRAM)
    own_recurrence.check(program)
    losses = own_recurrence.train(program, steps=25)
    assert losses[-1] < losses[0] / 2


def test_the_task_is_to_remember() -> None:
    maps, wanted = own_recurrence.task(3, 4, 5, torch.Generator().manual_seed(1))
    for image, answers in zip(maps.flatten(1, 2), wanted.flatten(1), strict=True):
        last = torch.tensor(0.0)
        for (number, mark), answer in zip(image, answers, strict=True):
            last = number if mark else last
            assert answer == last


def test_errors_are_small_and_would_show(cross: scanlang.Scan2d) -> None:
    maps = torch.randn(1, 4, 5, 12)
    program = scanlang.load(EXAMPLES / "cross_scan.scan")
    found = demo.errors(program, cross, maps)
    assert set(found) == {"output", "gradient of x", *(f"gradient of {name}" for name, _ in cross.named_parameters())}
    assert max(found.values()) < 1e-5
    assert demo.distance(cross(maps) * 1.01, cross(maps).double()) == pytest.approx(0.01, rel=1e-3)


def test_features_are_the_same_every_time(photo: torch.Tensor) -> None:
    maps = photograph.features(photo, 6)
    assert maps.shape == (1, 20, 28, 6)
    assert torch.equal(maps, photograph.features(photo, 6))
    torch.testing.assert_close(maps.std((1, 2)), torch.ones(1, 6))
    assert torch.equal(photograph.crop(maps, 4, 6), maps[:, 8:12, 11:17])


def test_photograph_needs_no_network() -> None:
    name, pixels = photograph.load_photograph()
    assert name
    assert pixels.shape[2] == 3
    assert min(pixels.shape[:2]) >= 300
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1


def test_receptive_fields(photo: torch.Tensor) -> None:
    program = scanlang.load(EXAMPLES / "receptive_field.scan")
    fields = receptive_field.receptive_fields(program, photograph.features(photo, 8)[:, :9, :11])
    raster, both, four = (field.flatten() for field in fields.values())
    middle = 4 * 11 + 5
    assert bool((raster[: middle + 1] > 0).all())
    assert bool((raster[middle + 1 :] == 0).all())
    assert bool((both > 0).all())
    column = torch.tensor([row * 11 + 5 for row in range(9) if row != 4])
    assert four[column].mean() / four[middle] > both[column].mean() / both[middle]


def test_pictures(photo: torch.Tensor, tmp_path: Path) -> None:
    program = scanlang.load(EXAMPLES / "cross_scan.scan")
    maps = torch.randn(1, 20, 28, 6)
    field = torch.rand(9, 11)
    written = demo.draw_orders(program, tmp_path)
    written += demo.draw_pictures(program, tmp_path, "noise", photo, maps, {"one": field, "two": field.clone().zero_() + 1})
    assert written[0].read_text().startswith("<svg")
    assert [path.suffix for path in written] == [".svg", ".png", ".png", ".png", ".png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[1:])


def test_without_triton_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = demo.compile_for("sm_90", "bfloat16", tmp_path, (8, 8))
    assert "Triton is not installed" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_demo_on_a_small_picture(monkeypatch: pytest.MonkeyPatch, photo: torch.Tensor, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "load_photograph", lambda: ("noise", photo))
    for name, value in {"CHECKED": (4, 6), "TIMED": (6, 8), "SMALLER": 2, "CHANNELS": 8}.items():
        monkeypatch.setattr(demo, name, value)
    result = CliRunner().invoke(demo.main, ["--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for words in ("compiled for cpu", "compiled for sm_90", "all below", "unfused", "orders.svg"):
        assert words in result.output
    assert (tmp_path / "cpu" / "report.txt").exists()


def test_progress_in_a_log() -> None:
    stream = io.StringIO()
    progress = Progress(2, stream)
    with progress.stage("one"):
        pass
    with pytest.raises(ValueError, match="wrong"), progress.stage("two"):
        raise ValueError("wrong")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert "1/2" in lines[0]
    assert "one" in lines[0]
