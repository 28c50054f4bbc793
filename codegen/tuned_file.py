"""The file of measured schedules: JSON that a person can read, copy to others and merge. Text ↔ entries.

    {"format": "scanlang schedules", "version": 1, "entries": [{"scan": "cross", "program": "1f0c…", "grid": [56, 56], …}]}

What is not understood is left out with a reason, and kept as it is when the file is written again. A file never appears
half-written, and processes that store at once lose nothing of each other's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from scanlang.codegen.schedule import Schedule
from scanlang.files import write_atomically

FORMAT, VERSION = "scanlang schedules", 1
LARGEST = 2**26
"""Bytes of a file; a choice takes about a thousand."""
ASIDE = ".unreadable"


class Unreadable(ValueError):
    """Why a file, or an entry, is of no use."""


@dataclass(frozen=True)
class Machine:
    """What times depend on beside the program: `card` as `NVIDIA H200, sm_90`, and the versions of what makes code."""

    card: str
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Key:
    """What a schedule was measured for. `program` names kernels and traversal by their content, `batch` is a power of two,
    `types` gives the type of every array."""

    program: str
    grid: tuple[int, ...]
    computing: str
    channels: int
    batch: int
    types: tuple[tuple[str, str], ...]
    machine: Machine

    @property
    def group(self) -> tuple[object, ...]:
        """Those that agree in this share the steps between saved states: what is traced once runs with any batch."""
        return self.program, self.grid, self.computing, self.machine


@dataclass(frozen=True)
class Entry:
    """`scan` is a name for readers, `measured` how the choice was made."""

    key: Key
    schedule: Schedule
    scan: str = ""
    measured: Mapping[str, Any] = field(default_factory=dict, compare=False)


# An entry as JSON.


def to_json(entry: Entry) -> dict[str, Any]:
    key = entry.key
    return {
        "scan": entry.scan,
        "program": key.program,
        "grid": list(key.grid),
        "channels": key.channels,
        "batch": key.batch,
        "computing": key.computing,
        "types": dict(key.types),
        "card": key.machine.card,
        "versions": dict(key.machine.versions),
        "schedule": asdict(entry.schedule),
        "measured": dict(entry.measured),
    }


def of_json(value: object) -> Entry:
    """Raises Unreadable with what is wrong."""
    made = _mapping(value, "an entry")
    scan, measured = made.get("scan", ""), made.get("measured", {})
    schedule = schedule_of_json(made.get("schedule"))
    known = key_of_json(made), schedule, scan if isinstance(scan, str) else ""
    return Entry(*known, measured if isinstance(measured, dict) else {})


def key_of_json(value: object) -> Key:
    made = _mapping(value, "an entry")
    sizes = made.get("grid")
    if not isinstance(sizes, list) or not 1 <= len(sizes) <= 4:
        raise Unreadable("`grid` is no list of one to four sizes")
    return Key(
        _text(made, "program"),
        tuple(_count(size, "grid") for size in sizes),
        _text(made, "computing"),
        _count(made.get("channels"), "channels"),
        _count(made.get("batch"), "batch"),
        _texts(made, "types"),
        Machine(_text(made, "card"), _texts(made, "versions")),
    )


def schedule_of_json(value: object) -> Schedule:
    """Field by field as `Schedule` has them; fields with a default may be missing."""
    made, types = _mapping(value, "`schedule`"), _field_types()
    if unknown := sorted(made.keys() - types.keys()):
        raise Unreadable(f"`schedule` has a field `{unknown[0]}` that is not known here")
    for one in fields(Schedule):
        if one.name not in made:
            if one.default is MISSING:
                raise Unreadable(f"`schedule` has no `{one.name}`")
        elif not _fits(made[one.name], types[one.name]):
            raise Unreadable(f"`{one.name}` of `schedule` is {made[one.name]!r:.60}")
    return Schedule(**made)


@cache
def _field_types() -> dict[str, Any]:
    return get_type_hints(Schedule)


def _fits(value: object, wanted: Any) -> bool:
    """A truth value is no number here, as Python would have it."""
    if get_origin(wanted) is Literal:
        return isinstance(value, str) and value in get_args(wanted)
    return type(value) is wanted


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"{what} is no object")
    return value


def _text(made: Mapping[str, Any], name: str) -> str:
    value = made.get(name)
    if not isinstance(value, str):
        raise Unreadable(f"`{name}` is no text")
    return value


def _texts(made: Mapping[str, Any], name: str) -> tuple[tuple[str, str], ...]:
    value = made.get(name)
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise Unreadable(f"`{name}` does not give a text for each name")
    return tuple(sorted(value.items()))


def _count(value: object, name: str) -> int:
    if type(value) is not int or not 1 <= value < 2**63:
        raise Unreadable(f"`{name}` is {value!r:.60}")
    return value


# A file.


def read_entries(path: Path) -> tuple[list[Entry], list[str]]:
    """The entries of a file, and why others are ignored. Raises Unreadable where it is no such file, OSError as `open` does."""
    found, reasons = [], []
    for number, one in enumerate(_raw_entries(path), 1):
        try:
            found.append(of_json(one))
        except Unreadable as reason:
            reasons.append(f"entry {number}: {reason}")
    return found, reasons


def _raw_entries(path: Path) -> list[Any]:
    with open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Unreadable(f"it is larger than {LARGEST // 2**20} MiB")
    try:
        made = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is no JSON ({error})") from None
    if not isinstance(made, dict) or made.get("format") != FORMAT:
        raise Unreadable("it is no file of `scanlang tune`")
    if made.get("version") != VERSION:
        raise Unreadable(f"it is written in version {made.get('version')!r:.20} of the format; this scanlang reads {VERSION}")
    if not isinstance(made.get("entries"), list):
        raise Unreadable("it has no list of entries")
    return list(made["entries"])


def store(path: Path, entries: Sequence[Entry]) -> tuple[int, Path | None]:
    """Put entries into a file, in place of what it has under their keys; everything else stays.

    Entries of the same group with other steps between saved states give way. Gives how many those were, and where a file that
    could not be read was moved to.
    """
    with _alone(path):
        aside = None
        try:
            before = _raw_entries(path)
        except FileNotFoundError:
            before = []
        except Unreadable:
            before, aside = [], path.with_name(path.name + ASIDE)
            os.replace(path, aside)
        others = [one for one in before if not _replaced(one, entries)]
        kept = [one for one in others if not _contradicts(one, entries)]
        write_atomically(path, to_text([*kept, *map(to_json, entries)]))
        return len(others) - len(kept), aside


def remove(path: Path, groups: Sequence[tuple[object, ...]]) -> int:
    """Take every entry of these groups out of a file, if it is there and readable; gives how many those were."""
    with _alone(path):
        try:
            before = _raw_entries(path)
        except (FileNotFoundError, Unreadable):
            return 0
        kept = [one for one in before if (key := _key_or_none(one)) is None or key.group not in groups]
        if len(kept) < len(before):
            write_atomically(path, to_text(kept))
        return len(before) - len(kept)


def to_text(entries: Sequence[object]) -> str:
    """An entry's lists and inner objects take a line each."""
    texts = []
    for entry in entries:
        if not isinstance(entry, dict):
            texts.append(f"    {json.dumps(entry, ensure_ascii=False)}")
            continue
        lines = [f"      {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in entry.items()]
        texts.append("    {\n" + ",\n".join(lines) + "\n    }")
    head = f'{{\n  "format": "{FORMAT}",\n  "version": {VERSION},\n  "entries": ['
    return head + ("\n" + ",\n".join(texts) + "\n  " if texts else "") + "]\n}\n"


def _key_or_none(one: object) -> Key | None:
    with contextlib.suppress(Unreadable):
        return key_of_json(one)
    return None


def _replaced(one: object, entries: Sequence[Entry]) -> bool:
    """What stands in the file is for the key of a new entry."""
    key = _key_or_none(one)
    return key is not None and any(key == new.key for new in entries)


def _contradicts(one: object, entries: Sequence[Entry]) -> bool:
    """What stands in the file saves states at other steps than a new entry of its group."""
    key = _key_or_none(one)
    schedule = one.get("schedule") if isinstance(one, dict) else None
    steps = schedule.get("backward_chunk") if isinstance(schedule, dict) else None
    return key is not None and any(key.group == new.key.group and steps != new.schedule.backward_chunk for new in entries)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time reads and writes the files of a folder, where the file system has locks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
