"""Which schedule a GPU runs: one that `scanlang tune` measured and stored, where there is one that fits, else the rule's.

Files are those of `SCANLANG_TUNED` (several, separated as in PATH, the first that has an answer gives it; set to nothing:
none), else `tuned.json` in the cache folder. They are read once per process. What is wrong with one is said once and never
stops a scan: a schedule is used only if it is among `legal_schedules`.

How many steps lie between saved states is one number for a program, a grid and a computing type, whatever the batch, as traced
graphs need it: the first entry's. Shapes that nothing was measured for take the nearest entry's schedule.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from math import log2
from pathlib import Path

import torch

from scanlang.codegen.cache import cache_folder
from scanlang.codegen.gpu.choose_gpu_schedule import choose_gpu_schedule
from scanlang.codegen.gpu.legal_schedules import legal_schedules
from scanlang.codegen.gpu.triton_layout import Shape
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.register import identity
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.tuned_file import Entry, Key, Machine, Unreadable, read_entries
from scanlang.maps.traversal import Traversal

VARIABLE = "SCANLANG_TUNED"
USUAL_FILE = "tuned.json"
PACKAGES = ("scanlang", "torch", "triton")

_said: set[str] = set()


def note(text: str) -> None:
    """A warning, once per process."""
    if text not in _said:
        _said.add(text)
        warnings.warn(text, stacklevel=2)


def usual_file() -> Path:
    """Where choices are stored when nothing is said."""
    return cache_folder() / USUAL_FILE


def files() -> tuple[Path, ...]:
    """The files that are asked, the first one first."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return tuple(Path(path) for path in named.split(os.pathsep) if path)
    try:
        return (usual_file(),)
    except RuntimeError:  # there is no home
        return ()


@cache
def versions() -> tuple[tuple[str, str], ...]:
    found = {"torch": str(torch.__version__)}
    for package in PACKAGES:
        try:
            found.setdefault(package, version(package))
        except PackageNotFoundError:
            found[package] = "none"
    return tuple(sorted(found.items()))


def machine() -> Machine | None:
    """The GPU that is current, None where there is none."""
    try:
        if not torch.cuda.is_available():
            return None
        major, minor = torch.cuda.get_device_capability()
        return Machine(f"{torch.cuda.get_device_name()}, sm_{major}{minor}", versions())
    except RuntimeError:  # a forked process may not ask
        return None


def bucket(batch: int) -> int:
    """Batches up to the same power of two share an entry."""
    return 1 << max(batch - 1, 0).bit_length()


def key_of(program: str, shape: Shape, batch: int, here: Machine) -> Key:
    return Key(program, shape.grid, shape.compute, shape.channels, bucket(batch), tuple(sorted(shape.dtypes)), here)


def shape_of(key: Key) -> Shape:
    return Shape(key.grid, key.channels, key.types, key.computing)


def program_of(kernels: ScanKernels, traversal: Traversal) -> str:
    """A name for what a scan computes and visits: the same in every process."""
    return identity(replace(kernels, name=""), traversal)


@cache
def stored(paths: tuple[Path, ...], here: Machine) -> tuple[Entry, ...]:
    """The entries of the files for this machine."""
    found = tuple(entry for path in paths for entry in _entries(path, here))
    _set_compiled_code_apart(found)
    return found


def _entries(path: Path, here: Machine) -> list[Entry]:
    """Those for this machine; notes say why others are not used."""
    try:
        entries, reasons = read_entries(path)
    except FileNotFoundError:
        if os.environ.get(VARIABLE):
            note(f"{path}, which {VARIABLE} names, is not there; schedules are chosen by rule")
        return []
    except (OSError, Unreadable) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        note(f"{path} is ignored: {why}; schedules are chosen by rule")
        return []
    for reason in reasons[:3]:
        note(f"{path}, {reason}; it is ignored")
    if len(reasons) > 3:
        note(f"{path}: {len(reasons) - 3} further entries are ignored")
    older = {entry.key.machine.versions for entry in entries if entry.key.machine.card == here.card} - {here.versions}
    if older:
        was = ", ".join(f"{name} {dict(min(older)).get(name, 'none')}" for name, _ in here.versions)
        now = ", ".join(f"{name} {found}" for name, found in here.versions)
        note(f"{path} has schedules measured with {was}; with {now} they are not used: scanlang tune measures anew")
    return [entry for entry in entries if entry.key.machine == here]


def _set_compiled_code_apart(entries: Sequence[Entry]) -> None:
    """What torch.compile keeps on disk knows the shapes of saved states: code of other chunks is not for this process."""
    config = getattr(torch.compiler, "config", None)
    if config is None or not hasattr(config, "cache_key_tag"):
        return
    before = config.cache_key_tag.partition(" scanlang-")[0]
    steps = sorted({f"{entry.key.group} {entry.schedule.backward_chunk}" for entry in entries})
    digest = hashlib.sha256("\n".join(steps).encode()).hexdigest()[:16]
    config.cache_key_tag = f"{before} scanlang-{digest}" if steps else before


class TunedChoice:
    """Chooses the schedules of one scan: `TritonScan(kernels, traversal, TunedChoice(kernels, traversal))`."""

    def __init__(self, kernels: ScanKernels, traversal: Traversal) -> None:
        self.kernels, self.traversal = kernels, traversal
        self._groups: dict[tuple[tuple[int, ...], str, Machine], tuple[Entry, ...]] = {}

    @cached_property
    def program(self) -> str:
        return program_of(self.kernels, self.traversal)

    def __call__(self, kernels: ScanKernels, traversal: Traversal, shape: Shape, batch: int) -> Schedule:
        """Its `backward_chunk` depends on the traversal, the grid and the computing type, never on the batch."""
        rule = choose_gpu_schedule(kernels, traversal, shape, batch)
        here = machine()
        group = () if here is None else self.group(shape, here)
        if here is None or not group:
            return rule
        wanted = key_of(self.program, shape, batch, here)
        exact = next((entry for entry in group if entry.key == wanted), None)
        if exact is not None:
            return exact.schedule
        return self.adapted(nearest_schedule(group, wanted), rule, shape)

    def group(self, shape: Shape, here: Machine) -> tuple[Entry, ...]:
        """The entries of this scan for a grid and a computing type: legal ones, that save states at the same steps."""
        place = (shape.grid, shape.compute, here)
        if place not in self._groups:
            self._groups[place] = tuple(self.usable(shape.grid, shape.compute, stored(files(), here)))
        return self._groups[place]

    def usable(self, grid: tuple[int, ...], computing: str, entries: Sequence[Entry]) -> Iterator[Entry]:
        """The entries that are for this scan, legal, and save states at the steps that the first of them does."""
        found: list[Entry] = []
        for entry in entries:
            key, steps = entry.key, entry.schedule.backward_chunk
            if (key.grid, key.computing) != (grid, computing) or key.program != self.program or not self.is_legal(entry):
                continue
            found.append(entry)
            if steps == found[0].schedule.backward_chunk:
                yield entry
            else:
                at = f"{entry.scan} at {_written(key.grid)}"
                note(f"a schedule stored for {at} saves states every {steps} steps, one before it at others; it is ignored")

    def is_legal(self, entry: Entry) -> bool:
        shape, schedule = shape_of(entry.key), entry.schedule
        rule = choose_gpu_schedule(self.kernels, self.traversal, shape, entry.key.batch)
        if schedule == rule or schedule in legal_schedules(self.kernels, self.traversal, shape):
            return True
        note(f"the schedule stored for {entry.scan} at {_written(entry.key.grid)} is none that it can have; it is ignored")
        return False

    def adapted(self, schedule: Schedule, rule: Schedule, shape: Shape) -> Schedule:
        """A schedule of another shape on this one: its chunks, and directions together as the rule has it for so many programs.

        Where that cannot be, what is most like it with states saved at the same steps.
        """
        wanted = replace(schedule, merge=rule.merge)
        legal = legal_schedules(self.kernels, self.traversal, shape)
        same = [one for one in legal if one.backward_chunk == wanted.backward_chunk]
        return wanted if wanted in same else min(same, key=lambda one: _differences(one, wanted), default=wanted)


def _written(grid: tuple[int, ...]) -> str:
    return "x".join(map(str, grid))


def _distance(key: Key, wanted: Key) -> tuple[bool, bool, float]:
    return key.types != wanted.types, key.channels != wanted.channels, abs(log2(key.batch) - log2(wanted.batch))


def _differences(one: Schedule, other: Schedule) -> tuple[bool, int]:
    """In kind first, then in how many fields."""
    fields_ = [each.name for each in fields(Schedule)]
    return one.kind != other.kind, sum(getattr(one, name) != getattr(other, name) for name in fields_)


def nearest_schedule(entries: Sequence[Entry], key: Key) -> Schedule:
    """Of the same types rather than the same channels, and of these rather than of about as large a batch."""
    return min(entries, key=lambda entry: _distance(entry.key, key)).schedule
