"""Measured schedules: the file, broken in every way, written by several at once; and what is chosen from it for which shape."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from operator_checks import operator
from operator_programs import EXAMPLES, FILES

from scanlang.codegen import backend, tuned, tuned_file
from scanlang.codegen.gpu.choose_gpu_schedule import PROGRAMS, choose_gpu_schedule
from scanlang.codegen.gpu.legal_schedules import legal_schedules
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.gpu.triton_layout import Shape
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.tuned import TunedChoice, bucket, key_of, program_of
from scanlang.codegen.tuned_file import Entry, Machine, Unreadable, of_json, read_entries, remove, store, to_json, to_text
from scanlang.maps.traversal import Traversal

HERE = Machine("NVIDIA H200, sm_90", (("scanlang", "0.1.0"), ("torch", "2.11.0"), ("triton", "3.6.0")))
GRID, CHANNELS = (8, 16), 96


def cross(name: str = "cross") -> tuple[ScanKernels, Traversal]:
    graph = operator(name).graph
    return lower_to_kernels(graph, {"state": 1, "rank": 6}), graph.traversal


def shape_for(kernels: ScanKernels, grid: tuple[int, ...] = GRID, channels: int = CHANNELS, maps: str = "bfloat16") -> Shape:
    types = [(stream.name, maps) for stream in kernels.streams] + [(one.name, "float32") for one in kernels.parameters]
    return Shape(grid, channels, tuple(types))


def rule_for(batch: int = 128, **shape: Any) -> Schedule:
    kernels, traversal = cross()
    return choose_gpu_schedule(kernels, traversal, shape_for(kernels, **shape), batch)


def entry_for(schedule: Schedule, batch: int = 128, here: Machine = HERE, **shape: Any) -> Entry:
    kernels, traversal = cross()
    key = key_of(program_of(kernels, traversal), shape_for(kernels, **shape), batch, here)
    return Entry(key, schedule, "cross", {"milliseconds": 1.5})


def of_steps(backward_chunk: int, **fields: Any) -> Schedule:
    """A legal schedule that the rule does not choose."""
    one = replace(rule_for(), lanes=64, warps=1, abreast=1, fetch=False)
    return replace(one, chunk=8, backward_chunk=backward_chunk, **fields)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that is asked, on a machine with a GPU; each test reads it as a process of its own would."""
    file = tmp_path / "tuned.json"
    monkeypatch.setenv(tuned.VARIABLE, str(file))
    monkeypatch.setattr(tuned, "machine", lambda: HERE)
    tag = torch.compiler.config.cache_key_tag
    forget()
    yield file
    forget()
    torch.compiler.config.cache_key_tag = tag


def forget() -> None:
    tuned.stored.cache_clear()
    tuned._said.clear()


def chosen(batch: int = 128, **shape: Any) -> Schedule:
    kernels, traversal = cross()
    return TunedChoice(kernels, traversal)(kernels, traversal, shape_for(kernels, **shape), batch)


def noted(batch: int = 128) -> list[str]:
    """What a choice says, for a process that has read nothing yet. It is the rule's."""
    forget()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert chosen(batch) == rule_for(batch)
        assert chosen(batch) == rule_for(batch)
    return [str(one.message) for one in said]


# The file.


def test_what_is_written_is_read(path: Path) -> None:
    entry = entry_for(of_steps(2))
    store(path, [entry])
    assert read_entries(path) == ([entry], [])
    assert read_entries(path)[0][0].measured == {"milliseconds": 1.5}


def test_the_file_is_for_readers(path: Path) -> None:
    store(path, [entry_for(of_steps(2))])
    text = path.read_text(encoding="utf-8")
    for line in ('"scan": "cross",', '"grid": [8, 16],', '"batch": 128,', '"card": "NVIDIA H200, sm_90",', '"measured": '):
        assert f"      {line}" in text
    assert max(map(len, text.splitlines())) < 400
    assert json.loads(text)["entries"][0]["schedule"] == asdict(of_steps(2))


def test_every_field_of_a_schedule_goes_through_the_file() -> None:
    """Each in another value than its usual one, whatever fields there are."""
    others: dict[type, Any] = {bool: True, int: 7}
    usual = Schedule("table", "partials", 32, 8, 4)
    for field in fields(Schedule):
        value = getattr(usual, field.name)
        words = get_args(get_type_hints(Schedule)[field.name])
        other = others.get(type(value)) or next(word for word in words if word != value)
        entry = entry_for(replace(usual, **{field.name: other}))
        assert of_json(json.loads(json.dumps(to_json(entry)))) == entry


def test_fields_with_a_default_may_be_missing() -> None:
    made = to_json(entry_for(of_steps(2)))
    made["schedule"] = {name: made["schedule"][name] for name in ("addressing", "merge", "lanes", "chunk", "backward_chunk")}
    assert of_json(made).schedule == Schedule("nest", of_steps(2).merge, 64, 8, 2)


WRONG: dict[str, tuple[str, Any, str]] = {
    "a later field": ("schedule.colour", 3, "a field `colour` that is not known here"),
    "text for a number": ("schedule.lanes", "64", "`lanes` of `schedule` is '64'"),
    "a truth value for a number": ("schedule.warps", True, "`warps` of `schedule` is True"),
    "a fraction": ("schedule.chunk", 8.0, "`chunk` of `schedule` is 8.0"),
    "an unknown word": ("schedule.merge", "sideways", "`merge` of `schedule` is 'sideways'"),
    "no schedule": ("schedule", None, "`schedule` is no object"),
    "no lanes": ("schedule.lanes", ..., "`schedule` has no `lanes`"),
    "a grid of no axes": ("grid", [], "`grid` is no list of one to four sizes"),
    "a size of nothing": ("grid", [0, 4], "`grid` is 0"),
    "a batch of text": ("batch", "128", "`batch` is '128'"),
    "no card": ("card", ..., "`card` is no text"),
    "versions in a list": ("versions", ["3.6"], "`versions` does not give a text for each name"),
    "no program": ("program", 12, "`program` is no text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_entry_that_is_wrong_is_ignored_with_a_note(path: Path, name: str) -> None:
    where, value, reason = WRONG[name]
    made, right = to_json(entry_for(of_steps(2))), entry_for(of_steps(2), batch=4)
    *outer, last = where.split(".")
    inner = made[outer[0]] if outer else made
    inner.pop(last) if value is ... else inner.update({last: value})
    path.write_text(to_text([made, to_json(right)]))
    entries, reasons = read_entries(path)
    assert entries == [right]
    (said,) = reasons
    assert said.startswith("entry 1: ")
    assert reason in said
    path.write_text(to_text([made]))
    (said,) = noted()
    assert str(path) in said
    assert reason in said
    assert "ignored" in said


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "half a file": to_text([{"scan": "cross"}]).encode()[:80],
    "no text": b"\xff\xfe\x00",
    "no JSON": b"<!doctype html>",
    "another's JSON": b'{"entries": []}',
    "a list": b"[]",
    "a later version": b'{"format": "scanlang schedules", "version": 2, "entries": []}',
    "no entries": b'{"format": "scanlang schedules", "version": 1}',
    "entries that are no list": b'{"format": "scanlang schedules", "version": 1, "entries": {}}',
    "very deep": b'{"a": ' * 100_000,
    "a very long number": b'{"a": ' + b"1" * 10_000 + b"}",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_ignored_with_a_note(path: Path, name: str) -> None:
    path.write_bytes(BROKEN[name])
    with pytest.raises(Unreadable):
        read_entries(path)
    (said,) = noted()
    assert said.startswith(f"{path} is ignored: ")
    assert said.endswith("schedules are chosen by rule")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_kept_aside_when_a_choice_is_stored(path: Path, name: str) -> None:
    path.write_bytes(BROKEN[name])
    entry = entry_for(of_steps(2))
    assert store(path, [entry]) == (0, path.with_name("tuned.json.unreadable"))
    assert read_entries(path) == ([entry], [])
    assert path.with_name("tuned.json.unreadable").read_bytes() == BROKEN[name]


def test_a_folder_in_its_place_is_ignored_with_a_note(path: Path) -> None:
    path.mkdir()
    (said,) = noted()
    assert said == f"{path} is ignored: Is a directory; schedules are chosen by rule"


def test_a_file_that_may_not_be_read_is_ignored_with_a_note(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()

    def refused(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))  # as root reads everything

    monkeypatch.setattr(tuned_file, "open", refused, raising=False)
    (said,) = noted()
    assert "Permission denied" in said


def test_a_file_that_is_named_and_missing_is_noted(path: Path) -> None:
    (said,) = noted()
    assert said == f"{path}, which SCANLANG_TUNED names, is not there; schedules are chosen by rule"


def test_the_usual_file_may_be_missing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tuned.VARIABLE)
    monkeypatch.setenv("SCANLANG_CACHE", str(path.parent))
    assert noted() == []
    store(path, [entry_for(of_steps(2))])
    forget()
    assert chosen() == of_steps(2)


def test_without_a_home_there_is_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in (tuned.VARIABLE, "SCANLANG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", no_home)
    assert noted() == []


def test_set_to_nothing_no_file_is_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tuned.VARIABLE, "")
    monkeypatch.setenv("SCANLANG_CACHE", str(path.parent))
    store(path, [entry_for(of_steps(2))])
    assert noted() == []


def test_a_choice_takes_the_place_of_the_one_before(path: Path) -> None:
    first, second, other = entry_for(of_steps(2)), entry_for(of_steps(2, warps=2)), entry_for(of_steps(2), batch=4)
    store(path, [first])
    store(path, [other])
    store(path, [second])
    assert read_entries(path)[0] == [other, second]


def test_what_is_not_understood_stays_in_the_file(path: Path) -> None:
    later = {**to_json(entry_for(of_steps(2))), "card": "NVIDIA B300, sm_103", "colour": {"ü": [1]}}
    later["schedule"] = {**later["schedule"], "clusters": 2}
    path.write_text(to_text([later, "what is this"]), encoding="utf-8")
    store(path, [entry_for(of_steps(2))])
    assert json.loads(path.read_bytes())["entries"][:2] == [later, "what is this"]


def test_entries_that_save_states_at_other_steps_give_way(path: Path) -> None:
    few, other_grid = entry_for(of_steps(2), batch=1), entry_for(of_steps(2), grid=(16, 16))
    wide = entry_for(of_steps(2), here=replace(HERE, card="another"))
    store(path, [few, other_grid, wide])
    assert store(path, [entry_for(of_steps(4))]) == (1, None)
    assert read_entries(path)[0] == [other_grid, wide, entry_for(of_steps(4))]


def test_a_group_is_taken_out(path: Path) -> None:
    few, many, other_grid = entry_for(of_steps(2), batch=1), entry_for(of_steps(2)), entry_for(of_steps(2), grid=(16, 16))
    assert remove(path, [few.key.group]) == 0
    store(path, [few, many, other_grid])
    assert remove(path, [few.key.group]) == 2
    assert read_entries(path)[0] == [other_grid]


def _store_many(path: Path, first: int, count: int) -> None:
    for number in range(first, first + count):
        store(path, [entry_for(of_steps(2), channels=32 * (number + 1))])


def test_processes_that_store_at_once_lose_nothing(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_store_many, args=(path, first, 10)) for first in (0, 10, 20)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert read_entries(path)[1] == []
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert {entry.key.channels for entry in read_entries(path)[0]} == {32 * (number + 1) for number in range(30)}
    assert [one.name for one in path.parent.iterdir()] == [path.name]


# What is chosen.


def test_a_stored_schedule_is_chosen_for_its_batches(path: Path) -> None:
    store(path, [entry_for(of_steps(2))])
    assert {batch: chosen(batch) == of_steps(2) for batch in (65, 100, 128)} == {65: True, 100: True, 128: True}
    assert bucket(0) == bucket(1) == 1
    assert [bucket(batch) for batch in (2, 3, 4, 5, 128, 129)] == [2, 4, 4, 8, 128, 256]


def test_without_a_gpu_the_rule_chooses(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(path, [entry_for(of_steps(2))])
    monkeypatch.setattr(tuned, "machine", lambda: None)
    assert chosen() == rule_for()


def test_this_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    here = tuned.machine()
    assert here is not None
    assert here.card == "NVIDIA H200, sm_90"
    assert dict(here.versions).keys() == {"scanlang", "torch", "triton"}
    assert dict(here.versions)["torch"] == torch.__version__

    def forked() -> tuple[int, int]:
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess")

    monkeypatch.setattr(torch.cuda, "get_device_capability", forked)
    assert tuned.machine() is None


@pytest.mark.parametrize("batch", [1, 7, 128, 4096, PROGRAMS])
@pytest.mark.parametrize("shape", [{}, {"channels": 64}, {"channels": 1}, {"maps": "float32"}], ids=str)
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_saved_steps_are_the_same_for_every_batch(path: Path, steps: int, shape: dict[str, Any], batch: int) -> None:
    """As traced graphs need it: `chunk` asks for the grid and the computing type alone."""
    store(path, [entry_for(of_steps(steps))])
    kernels, traversal = cross()
    choice = TunedChoice(kernels, traversal)
    schedule = choice(kernels, traversal, shape_for(kernels, **shape), batch)
    assert schedule.backward_chunk == steps
    assert schedule in legal_schedules(kernels, traversal, shape_for(kernels, **shape))
    assert TritonScan(kernels, traversal, choice).chunk(GRID) == steps
    assert schedule.merge == rule_for(batch, **shape).merge or (not shape and bucket(batch) == 128)


def test_other_grids_and_computing_types_are_the_rules(path: Path) -> None:
    store(path, [entry_for(of_steps(2))])
    assert chosen(grid=(8, 8)) == rule_for(grid=(8, 8))
    kernels, traversal = cross()
    wide = replace(shape_for(kernels), compute="float64")
    assert TunedChoice(kernels, traversal)(kernels, traversal, wide, 128) == choose_gpu_schedule(kernels, traversal, wide, 128)


def test_the_nearest_batch_gives_the_schedule(path: Path) -> None:
    small, large = of_steps(2, warps=2), of_steps(2)
    store(path, [entry_for(small, batch=2), entry_for(large, batch=256)])
    assert [chosen(batch).warps for batch in (1, 2, 4, 8, 32, 1024)] == [2, 2, 2, 2, 1, 1]


def test_another_program_has_schedules_of_its_own(path: Path) -> None:
    store(path, [entry_for(of_steps(2))])
    kernels, traversal = cross()
    other = replace(kernels, merge_scale=0.25)
    shape = shape_for(kernels)
    assert TunedChoice(other, traversal)(other, traversal, shape, 128) == choose_gpu_schedule(other, traversal, shape, 128)
    renamed = replace(kernels, name="another_name")
    assert TunedChoice(renamed, traversal)(renamed, traversal, shape, 128) == of_steps(2)


def test_schedules_that_the_scan_cannot_have_are_ignored_with_a_note(path: Path) -> None:
    for wrong in ({"lanes": 48}, {"chunk": 5, "backward_chunk": 5}, {"chunk": 10**9}, {"kind": "chunked"}, {"warps": 0}):
        path.unlink(missing_ok=True)
        store(path, [entry_for(replace(of_steps(2), **wrong))])
        (said,) = noted()
        assert said == "the schedule stored for cross at 8x16 is none that it can have; it is ignored", wrong


def test_entries_of_a_file_that_contradict_each_other(path: Path) -> None:
    two, four = entry_for(of_steps(2)), entry_for(of_steps(4), batch=1)
    path.write_text(to_text([to_json(two), to_json(four)]))
    with pytest.warns(UserWarning, match="saves states every 4 steps, one before it at others; it is ignored"):
        assert chosen(1).backward_chunk == 2
    assert chosen() == two.schedule


def test_the_first_of_several_files_has_the_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = path.with_name("other.json")
    store(path, [entry_for(of_steps(2))])
    store(other, [entry_for(of_steps(2, warps=2)), entry_for(of_steps(2, warps=2), batch=4)])
    monkeypatch.setenv(tuned.VARIABLE, os.pathsep.join((str(path), str(other))))
    assert (chosen(128).warps, chosen(4).warps) == (1, 2)
    forget()
    monkeypatch.setenv(tuned.VARIABLE, os.pathsep.join((str(other), str(path))))
    assert chosen(128).warps == 2


def test_other_versions_are_noted_and_other_cards_are_not(path: Path) -> None:
    store(path, [entry_for(of_steps(2), here=replace(HERE, card="NVIDIA A100, sm_80"))])
    assert noted() == []
    versions = (("scanlang", "0.1.0"), ("torch", "2.11.0"), ("triton", "3.5.0"))
    store(path, [entry_for(of_steps(2), here=replace(HERE, versions=versions))])
    (said,) = noted()
    was, now = "scanlang 0.1.0, torch 2.11.0, triton 3.5.0", "scanlang 0.1.0, torch 2.11.0, triton 3.6.0"
    assert said == f"{path} has schedules measured with {was}; with {now} they are not used: scanlang tune measures anew"


def test_the_backend_consults_the_file(path: Path) -> None:
    kernels, traversal = cross()
    store(path, [entry_for(of_steps(2))])
    made = backend.choose_backend(kernels, traversal, "cuda", operator("cross").signature.span)
    assert isinstance(made, TritonScan)
    assert made.choose(kernels, traversal, shape_for(kernels), 128) == of_steps(2)
    assert made.chunk(GRID) == 2


def test_code_of_torch_compile_is_kept_apart(path: Path) -> None:
    """It knows the shapes of saved states; one process's code is not for another with other chunks."""
    config = torch.compiler.config
    config.cache_key_tag = "mine"
    store(path, [])
    chosen()
    assert config.cache_key_tag == "mine"
    tags = set()
    for schedule in (of_steps(2), of_steps(4), of_steps(4, warps=2)):
        store(path, [entry_for(schedule)])
        forget()
        chosen()
        assert config.cache_key_tag.startswith("mine scanlang-")
        tags.add(config.cache_key_tag)
    assert len(tags) == 2


@pytest.mark.long
def test_a_program_has_one_name_in_every_process() -> None:
    script = f"""if True:
        import scanlang
        from scanlang.codegen.lower_to_kernels import lower_to_kernels
        from scanlang.codegen.tuned import program_of
        graph = scanlang.load({str(EXAMPLES / FILES["cross"])!r}).operator_graph("cross")
        print(program_of(lower_to_kernels(graph, {{"state": 1, "rank": 6}}), graph.traversal))
    """
    names = {program_of(*cross())}
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        names.add(run.stdout.strip())
    assert len(names) == 1


def test_keys_hold_everything_that_a_time_depends_on() -> None:
    kernels, traversal = cross()
    base = key_of(program_of(kernels, traversal), shape_for(kernels), 128, HERE)
    others = [
        key_of(program_of(kernels, traversal), shape_for(kernels, **shape), batch, here)
        for shape, batch, here in (
            ({"grid": (16, 8)}, 128, HERE),
            ({"channels": 64}, 128, HERE),
            ({"maps": "float16"}, 128, HERE),
            ({}, 64, HERE),
            ({}, 128, replace(HERE, card="another")),
            ({}, 128, replace(HERE, versions=(("triton", "3.7.0"),))),
        )
    ]
    assert len({base, *others}) == 7
