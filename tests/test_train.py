"""Training: what is learned, that interruptions and shared batches change nothing, and what is said of wrong calls."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import train
from click.testing import CliRunner
from common import data, training
from common.checkpoints import NAME, read_checkpoint, write_checkpoint
from common.data import DataSet, Part
from common.networks import NetworkChoice, scan_named
from common.progress import TrainingLine, duration
from common.results import Result, reached, summary, table
from common.training import Epoch, Recipe, Training
from common.workers import Workers

import scanlang
from scanlang import backbones

EXAMPLES = Path(train.__file__).parent
TINY = """
import std.selective
grid h, w

scan there(dim) {
  directions raster
  recur      selective(state = 1, rank = 1)
  project    low, B, C from x
}

scan back(dim) {
  directions reverse(raster)
  recur      selective(state = 1, rank = 1)
  project    low, B, C from x
}

block pooled() { forward x = mean(cells: x) }

backbone tiny(in_chans = 1, num_classes = 3, dim = 4, drop_path_rate = 0.5, scan core = there) {
  stem = conv2d(in_chans, dim, 3)
  scan = core(dim)
  skip = drop_path(drop_path_rate)
  pool = pooled()
  head = linear(dim, num_classes)
}
"""
RECIPE = Recipe(epochs=3, batch=8, lr=0.01)
ALONE = Workers(0, 1, torch.device("cpu"))


@pytest.fixture
def program(tmp_path: Path) -> str:
    (tmp_path / "tiny.scan").write_text(TINY)
    return str(tmp_path / "tiny.scan")


@pytest.fixture(scope="module")
def images() -> DataSet:
    generator = torch.Generator().manual_seed(0)
    parts = [Part(torch.randn(n, 1, 4, 5, generator=generator), torch.arange(n) % 3) for n in (26, 9)]
    return DataSet("tiny", parts[0], parts[1], 3, blank=-1.0, shift=1)


def tiny_training(program: str, images: DataSet, out: Path, workers: Workers = ALONE) -> Training:
    torch.manual_seed(0)
    model = NetworkChoice(program).made(images)
    return Training(model, images, RECIPE, 0, workers, out, {"data": "tiny", "lr": RECIPE.lr})


def losses(epochs: Sequence[Epoch]) -> list[list[float]]:
    return [epoch.losses for epoch in epochs]


def command(out: Path, *arguments: str, processes: int = 1, restarts: int = 0) -> list[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    start = [sys.executable, *(torchrun if processes > 1 else []), str(EXAMPLES / "train.py")]
    return [*start, "--out", str(out), "--seeds", "0", "--device", "cpu", *arguments]


def run(*arguments: Any, **options: Any) -> dict[str, Any]:
    """The metrics of a run in processes of its own."""
    subprocess.run(command(*arguments, **options), check=True, capture_output=True, timeout=240)
    return metrics(arguments[0])


def metrics(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "seed0" / "metrics.json").read_text())
    return found


# Data.


def test_splits_are_fixed_and_normalised() -> None:
    digits = data.digits()
    assert (len(digits.train), len(digits.test), digits.size, digits.classes) == (1437, 360, (8, 8), 10)
    assert digits.train.labels[:12].tolist() == data.digits().train.labels[:12].tolist()
    assert float(digits.train.images.mean()) == pytest.approx(0, abs=1e-5)
    assert float(digits.train.images.std()) == pytest.approx(1, abs=1e-5)
    assert float(digits.train.images.min()) == pytest.approx(digits.blank)


@pytest.mark.long
def test_mnist_is_split_as_said() -> None:
    mnist = data.mnist()
    assert (len(mnist.train), len(mnist.test), mnist.size, mnist.classes) == (4000, 1000, (28, 28), 10)
    assert bool((mnist.test.labels.bincount() > 70).all())


def test_images_move_and_leave_blanks(images: DataSet) -> None:
    numbers = torch.tensor([3, 3, 3])
    batch = images.batch(numbers, torch.tensor([[1, 1], [2, 1], [1, 0]]))
    same, down, left = batch.images[:, 0]
    original = images.train.images[3, 0]
    assert torch.equal(same, original)
    assert torch.equal(down[1:], original[:-1])
    assert torch.equal(left[:, :-1], original[:, 1:])
    assert bool((down[0] == images.blank).all())
    assert bool((left[:, -1] == images.blank).all())


def test_order_asks_which_mark_comes_first() -> None:
    part = data.marks(60, 3)
    for image, label in zip(part.images[:, 0], part.labels.tolist(), strict=True):
        bright, dark = ((image == mark).nonzero()[0].tolist() for mark in (3.0, -3.0))
        assert label == 2 * (bright[0] < dark[0]) + (bright[1] < dark[1])
        assert min(abs(a - b) for a, b in zip(bright, dark, strict=True)) >= data.ORDER_APART
    assert set(part.labels.tolist()) == {0, 1, 2, 3}
    assert torch.equal(part.images, data.marks(60, 3).images)


# Networks and patterns.


def test_networks_are_made_for_the_data(program: str, images: DataSet) -> None:
    model = NetworkChoice(program).made(images)
    assert model(images.train.images[:2]).shape == (2, 3)
    assert model.origin.given["drop_path_rate"] == 0
    for name in ("small_vmamba", "small_vim"):
        assert NetworkChoice(str(train.PROGRAM), name).made(data.order()).num_classes == 4


@pytest.mark.parametrize("pattern", ["back", "FILE:back", "FILE"])
def test_pattern_takes_the_place_of_the_core(program: str, images: DataSet, tmp_path: Path, pattern: str) -> None:
    own = tmp_path / "own.scan"
    own.write_text(TINY if ":" in pattern else TINY[: TINY.index("scan back")].replace("there", "back"))
    model = NetworkChoice(program, pattern=pattern.replace("FILE", str(own))).made(images)
    assert model.get_submodule("scan").scan.name == "back"
    about = NetworkChoice(program, pattern=pattern.replace("FILE", str(own))).about(model)
    assert about["pattern"] == pattern.replace("FILE", "own.scan")


def test_names_of_scans() -> None:
    program = scanlang.loads(TINY)
    assert scan_named("back", program) == "back"
    assert scan_named("std.vmamba:bidi", program) == ("std.vmamba", "bidi")
    assert scan_named("folder/mine.scan", program) == "folder/mine.scan"


def test_a_network_without_classes_is_refused(tmp_path: Path, images: DataSet) -> None:
    (tmp_path / "b.scan").write_text(TINY.replace("num_classes = 3, ", "").replace("num_classes", "7"))
    with pytest.raises(SystemExit, match="num_classes"):
        NetworkChoice(str(tmp_path / "b.scan")).made(images)


# The loop.


def test_every_process_has_its_share(program: str, images: DataSet, tmp_path: Path) -> None:
    whole = list(tiny_training(program, images, tmp_path).batches(1))
    shares = [list(tiny_training(program, images, tmp_path, Workers(n, 2, ALONE.device)).batches(1)) for n in (0, 1)]
    assert len(whole) == 26 // 8
    for batch, first, second in zip(whole, *shares, strict=True):
        assert torch.equal(batch.images[0::2], first.images)
        assert torch.equal(batch.images[1::2], second.images)
        assert torch.equal(batch.labels[1::2], second.labels)


def test_rate_goes_up_and_down(program: str, images: DataSet, tmp_path: Path) -> None:
    made = tiny_training(program, images, tmp_path)
    factors = [made.factor(step) for step in range(3 * 3)]
    assert max(factors) == 1
    assert factors[-1] < 0.1
    assert sorted(factors[1:], reverse=True) == factors[1:]


def test_vectors_and_states_do_not_decay(program: str, images: DataSet) -> None:
    model = NetworkChoice(program).made(images)
    decayed, spared = training.weight_groups(model, 0.1)
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert {"scan.A_log", "scan.D", "head.bias", "stem.bias"} <= {names[id(weight)] for weight in spared["params"]}
    assert {"stem.weight", "head.weight", "scan.project_weight"} <= {names[id(weight)] for weight in decayed["params"]}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0)


def test_a_run_that_goes_on_has_the_same_losses(
    program: str, images: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny_training(program, images, tmp_path / "whole")
    wanted = whole.run(resume=False)
    assert [len(epoch.losses) for epoch in wanted] == [3, 3, 3]
    broken = tiny_training(program, images, tmp_path / "broken")
    step = broken.step

    def fail(part: Part, line: Any) -> float:
        if broken.schedule.last_epoch == 7:
            raise KeyboardInterrupt
        return step(part, line)

    monkeypatch.setattr(broken, "step", fail)
    with pytest.raises(KeyboardInterrupt):
        broken.run(resume=False)
    torch.rand(5)
    again = tiny_training(program, images, tmp_path / "broken")
    assert losses(again.run(resume=True)) == losses(wanted)
    assert len(broken.epochs) == 2
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True))
    finished = tiny_training(program, images, tmp_path / "broken")
    assert losses(finished.run(resume=True)) == losses(wanted)


def test_a_checkpoint_has_the_whole_state(program: str, images: DataSet, tmp_path: Path) -> None:
    made = tiny_training(program, images, tmp_path)
    made.run(resume=False)
    content = read_checkpoint(tmp_path, made.about)
    assert content is not None
    assert content.keys() == {"about", "model", "optimizer", "schedule", "random", "epochs"}
    assert len(content["epochs"]) == 3
    assert content["schedule"]["last_epoch"] == 9
    assert content["optimizer"]["state"]
    assert torch.equal(content["random"]["cpu"], torch.get_rng_state())


def test_a_checkpoint_of_another_run_is_refused(program: str, images: DataSet, tmp_path: Path) -> None:
    made = tiny_training(program, images, tmp_path)
    made.run(resume=False)
    with pytest.raises(SystemExit, match=r"lr was 0.01, is 0.5"):
        replace(made, about={**made.about, "lr": 0.5}, epochs=[]).run(resume=True)


def test_writing_that_breaks_off_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, {"about": {}, "number": 1})

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        write_checkpoint(tmp_path, {"about": {}, "number": 2})
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    content = read_checkpoint(tmp_path, {})
    assert content is not None
    assert content["number"] == 1


def test_a_loss_that_is_no_number_ends_the_run(program: str, images: DataSet, tmp_path: Path) -> None:
    made = tiny_training(program, images, tmp_path)
    with torch.no_grad():
        made.model.get_submodule("head").weight.fill_(torch.nan)
    with pytest.raises(SystemExit, match="smaller --lr"):
        made.run(resume=False)


# What is printed and written.


def test_progress_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr("common.progress.time.perf_counter", lambda: float(next(clock)))
    stream = io.StringIO()
    line = TrainingLine(4, 2, 10, done=2, stream=stream)
    line.step(1.0)
    line.step(0.5)
    line.epoch(0.75, 0.5)
    assert stream.getvalue() == "epoch 3/4  loss 0.7500  accuracy 50.0%  4 images/s  5 s left\n"
    assert duration(125) == "2 min 5 s"


def test_progress_moves_on_a_terminal() -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    line = TrainingLine(1, 2, 10, stream=stream)
    line.step(1.0)
    assert stream.getvalue().startswith("\r\x1b[2Kepoch 0/1  loss 1.0000  ")


def test_table_of_patterns() -> None:
    def results(*accuracies: float) -> list[Result]:
        return [Result(seed, 100, [Epoch([1.0], one / 2, 2.0), Epoch([0.5], one, 3.0)]) for seed, one in enumerate(accuracies)]

    found = {"first": results(1.0, 0.9), "second": results(0.5, 0.6)}
    text = table(found).splitlines()
    assert text[2] == "| first | 95.0% | 90.0% | 2 | 100 | 5 |"
    assert text[3] == "| second | 55.0% | 50.0% | never | 100 | 5 |"
    assert summary(found["first"])["accuracy"] == pytest.approx(0.95)
    assert reached(found["second"], 0.25) == "1"


def test_the_command_trains_and_writes(tmp_path: Path) -> None:
    arguments = ["--epochs", "1", "--seeds", "1", "--batch", "359", "--out", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(train.main, arguments)
    assert result.exit_code == 0, result.output
    assert "small_vmamba on digits, 56714 parameters\nseed 1: accuracy" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {"curve.png", "metrics.json", "seed1"}
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["seeds"][0]["epochs"][0]["accuracy"] == found["accuracy"]
    again = backbones.load(tmp_path / "seed1" / "model.safetensors").eval()
    test = data.digits().test
    with torch.no_grad():
        right = (again(test.images).argmax(1) == test.labels).float().mean()
    assert float(right) == pytest.approx(found["accuracy"])


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--seeds", "0,x"], "0,1,2"),
        (["--seeds", "1,1"], "different"),
        (["--batch", "5000"], "1437"),
        (["--pattern", "a.scan", "--compare", "raster"], "one of the two"),
        (["--pattern", "nothing.scan"], "nothing.scan: No such file"),
        (["--program", "std.vim"], "S523"),
        (["--model", "small_vimm"], "small_vim"),
        (["--model", "small_vim", "--pattern", "cross"], "S113"),
        (["--compare", "raster,nothing"], "nothing"),
    ],
)
def test_wrong_calls_are_explained(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(train.main, [*arguments, "--out", str(tmp_path), "--epochs", "1", "--device", "cpu"])
    assert result.exit_code != 0
    assert said in result.output + str(result.exception)
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_processes_share_a_batch_equally_or_not_at_all() -> None:
    with pytest.raises(Exception, match="3 processes"):
        train.check_batch(64, 1437, 3)


# What takes longer: learning, and processes that die.


@pytest.mark.long
@pytest.mark.parametrize("model", ["small_vmamba", "small_vim"])
def test_digits_are_learned(model: str, tmp_path: Path) -> None:
    """A third of what the README says: one seed."""
    result = CliRunner().invoke(train.main, ["--model", model, "--seeds", "0", "--out", str(tmp_path), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert metrics(tmp_path)["accuracy"] >= 0.97


@pytest.mark.long
def test_a_raster_cannot_tell_what_a_cross_can(tmp_path: Path) -> None:
    arguments = ["--compare", "raster,cross", "--epochs", "4", "--seeds", "0", "--out", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(train.main, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "compare.json").read_text())["patterns"]
    assert found["cross"]["accuracy"] >= 0.95
    assert found["raster"]["accuracy"] <= 0.8
    assert found["raster"]["parameters"] == found["cross"]["parameters"]
    assert (tmp_path / "compare.md").read_text() in result.output
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


SHORT = ("--epochs", "3", "--batch", "128")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("whole"), *SHORT)


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Processes that do not outlive their test."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command(*arguments, **options), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(done: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.long
def test_killed_in_the_middle_of_an_epoch(
    uninterrupted: dict[str, Any], started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = started(tmp_path, *SHORT)
    wait_for((tmp_path / "seed0" / NAME).exists)
    time.sleep(0.1)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "seed0" / "metrics.json").exists()
    assert run(tmp_path, *SHORT, "--resume")["losses"] == uninterrupted["losses"]


def workers_of(launcher: int) -> list[int]:
    """The processes that torchrun has started, by Linux's own list of children."""
    return [int(child) for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in Linux's /proc")
def test_two_processes_have_the_losses_of_one_also_if_one_is_killed(
    uninterrupted: dict[str, Any], started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    launcher = started(tmp_path, *SHORT, processes=2, restarts=1)
    wait_for((tmp_path / "seed0" / NAME).exists)
    time.sleep(0.1)
    os.kill(workers_of(launcher.pid)[-1], signal.SIGKILL)
    _, said = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, said.decode()
    found = metrics(tmp_path)
    for ours, theirs in zip(found["losses"], uninterrupted["losses"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert found["accuracy"] == pytest.approx(uninterrupted["accuracy"], abs=0.006)
