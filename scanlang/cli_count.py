"""`scanlang count`: parameters and operations of a backbone. In: what the user names and sets; out: lines, or JSON.

A backbone is found in a file, in a program of the library, or, by its own name, among the published networks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite, nan
from pathlib import Path
from textwrap import wrap
from typing import Any

import click

from scanlang.check.program import CheckedBackbone, CheckedBlock, CheckedProgram, CheckedScan, NetworkFormal
from scanlang.library import backbone_programs, library_source, names_library_program
from scanlang.networks.count import Count, SectionCount, count
from scanlang.networks.instantiate import Given, instantiate
from scanlang.networks.network import Network
from scanlang.networks.rules import RULES, Rule, usual_rule
from scanlang.networks.values import Map, Vector
from scanlang.pipeline import read_program

BACKBONE = re.compile(r"^\s*backbone\s+(\w+)", re.MULTILINE)
SETTING = re.compile(r"([A-Za-z_]\w*)\s*=\s*(\S.*?)\s*")
INTEGER = re.compile(r"-?[0-9]{1,18}")
SUFFIX = ".scan"
WIDE = 120
SMALLEST_IN_BILLIONS = 10**8
USUAL_SIZE = (224, 224)
LENGTHS = ("img_height", "img_width")
"""The formals of a backbone that is made for one size."""
FLAGS = {"true": True, "false": False}

Settings = Mapping[str, str]


@dataclass(frozen=True)
class Counted:
    name: str
    rule: Rule
    count: Count


def counted(file: str, name: str | None, size: tuple[int, ...] | None, rule: str | None, settings: Settings) -> Counted:
    """Raises ScanError for findings, UsageError for names that there are not."""
    program, backbone = found(file, name)
    network = instantiate(backbone, program.axes, given(program, backbone, settings))
    chosen = RULES[rule or usual_rule(backbone.span.source.name)]
    return Counted(backbone.name, chosen, count(network, size_for(network, size)))


# What is counted.


def found(file: str, name: str | None) -> tuple[CheckedProgram, CheckedBackbone]:
    """A program and one of its backbones."""
    if not names_library_program(file) and not Path(file).exists():
        if name is not None:
            raise click.UsageError(f"there is no file {file}")
        file, name = published(file), file
    source, verified = read_program(file)
    program = verified.mapped.checked
    own = {other: one for other, one in program.backbones.items() if one.span.source == source}
    return program, _chosen(own or program.backbones, file, name)


def _chosen(backbones: Mapping[str, CheckedBackbone], file: str, name: str | None) -> CheckedBackbone:
    shown = click.format_filename(file)
    if not backbones:
        raise click.UsageError(f"{shown} has no backbone")
    if name is None and len(backbones) == 1:
        return next(iter(backbones.values()))
    if name is None:
        raise click.UsageError(f"{shown} has {len(backbones)} backbones; say which: {', '.join(backbones)}")
    if name not in backbones:
        raise click.UsageError(f"{shown} has no backbone {name}{_hint(name, tuple(backbones))}")
    return backbones[name]


def published(name: str) -> str:
    """The program of a published network."""
    texts = {program: library_source(program).text for program in backbone_programs()}
    programs = {backbone: program for program, text in texts.items() for backbone in BACKBONE.findall(text)}
    if name not in programs:
        raise click.UsageError(f"there is no file and no published network {name}{_hint(name, tuple(programs))}")
    return programs[name]


def _hint(name: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def size_for(network: Network, size: tuple[int, ...] | None) -> tuple[int, ...]:
    """The size that was asked for, the one that the network is made for, or the usual one."""
    axes = network.axes
    if size is not None and len(size) == len(axes):
        return size
    if size is not None or len(axes) != len(USUAL_SIZE):
        count = "1 axis" if len(axes) == 1 else f"{len(axes)} axes"
        raise click.UsageError(f"--size: the grid of {network.name} has {count}, {', '.join(axes)}")
    made_for = tuple(int(network.numbers.get(name, 0)) for name in LENGTHS)
    return made_for if min(made_for) > 0 else USUAL_SIZE


# Formals.


def parse_settings(texts: tuple[str, ...]) -> Settings:
    """`dim=96`, `core=bidi`; the last value for a formal counts."""
    settings: dict[str, str] = {}
    for text in texts:
        match = SETTING.fullmatch(text)
        if match is None:
            raise click.UsageError(f"--set: {text!r} is no formal and its value, such as dim=96")
        settings[match[1]] = match[2]
    return settings


def given(program: CheckedProgram, backbone: CheckedBackbone, settings: Settings) -> dict[str, Given]:
    """Values for formals: numbers, and scans and blocks by their names."""
    formals = {formal.name: formal for formal in backbone.formals}
    for name in settings:
        if name not in formals:
            hint = _hint(name, tuple(formals)) or f" (it has: {', '.join(formals) or 'none'})"
            raise click.UsageError(f"--set {name}: {backbone.name} has no formal of this name{hint}")
    return {name: _value(program, formals[name], text) for name, text in settings.items()}


def _value(program: CheckedProgram, formal: NetworkFormal, text: str) -> Given:
    if formal.kind == "number":
        return _number(formal.name, text)
    things: dict[str, CheckedScan | CheckedBlock] = {**program.scans} if formal.kind == "scan" else {**program.blocks}
    if text in things:
        return things[text]
    if formal.kind == "scan" and (text.endswith(SUFFIX) or names_library_program(text)):
        return _only_scan(formal.name, text, program.axes)
    raise click.UsageError(f"--set {formal.name}={text}: the program has no {formal.kind} {text}{_hint(text, tuple(things))}")


def _number(name: str, text: str) -> int | float | bool:
    if text in FLAGS:
        return FLAGS[text]
    try:
        value = int(text) if INTEGER.fullmatch(text) else float(text)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise click.UsageError(f"--set {name}={text}: {text} is no number")
    return value


def _only_scan(name: str, file: str, axes: tuple[str, ...]) -> CheckedScan:
    source, verified = read_program(file)
    scans, others = verified.mapped.checked.scans, verified.mapped.checked.axes
    if len(others) != len(axes):
        raise click.UsageError(
            f"--set {name}={file}: its grid is {', '.join(others)}, and that of the backbone {', '.join(axes)}"
        )
    own = [scan for scan in scans.values() if scan.span.source == source] or list(scans.values())
    if len(own) != 1:
        raise click.UsageError(f"--set {name}={file}: the program has {len(own)} scans, and one is wanted")
    return own[0]


# What is shown.


def lines_of(result: Counted) -> Iterator[str]:
    rule, total = result.rule, result.count
    size = "x".join(map(str, total.image))
    yield f"{result.name}, on images of {size}"
    yield f"parameters  {total.parameters:,}"
    unit, letter = (1e9, "G") if total.operations(rule) >= SMALLEST_IN_BILLIONS else (1e6, "M")
    yield f"{rule.unit:<10}  {total.operations(rule) / unit:8.3f} {letter}"
    for part, operations in rule.parts(total.work).items():
        if operations:
            yield f"            {operations / unit:8.3f} {letter}  {part}"
    yield from wrap(f"rule {rule.name}: {rule.says}", WIDE, subsequent_indent=" " * 12)
    yield ""
    yield from table(
        [("section", "output", "channels", "parameters", rule.unit), *(row(each, result) for each in total.sections)]
    )


def row(section: SectionCount, result: Counted) -> tuple[str, ...]:
    operations = result.rule.total(section.work)
    grid, channels = output_of(section, result.count.image)
    tokens = section.output.token_rows if isinstance(section.output, Map) else 0
    shown = "x".join(map(str, grid)) if grid is not None else "1"
    added = f" + {tokens}" if tokens else ""
    return section.name, f"{shown}{added}", str(channels), f"{section.parameters:,}", f"{operations / 1e6:,.3f} M"


def output_of(section: SectionCount, image: tuple[int, ...]) -> tuple[tuple[int, ...] | None, int]:
    """The grid, None of a vector, and the channels."""
    output = section.output
    assert isinstance(output, Map | Vector)
    return (output.grid(image) if isinstance(output, Map) else None), output.channels


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """The first column left, numbers right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        yield "  ".join((f"{first:<{widths[0]}}", *(f"{text:>{wide}}" for text, wide in zip(others, widths[1:], strict=True))))


def as_json(result: Counted) -> dict[str, Any]:
    rule, total = result.rule, result.count
    sections = []
    for section in total.sections:
        grid, channels = output_of(section, total.image)
        tokens = dict(section.output.tokens) if isinstance(section.output, Map) else {}
        sections.append(
            {
                "name": section.name,
                "grid": grid,
                "tokens": tokens,
                "channels": channels,
                "parameters": section.parameters,
                "operations": rule.total(section.work),
            }
        )
    return {
        "version": 1,
        "backbone": result.name,
        "size": total.image,
        "parameters": total.parameters,
        "rule": {"name": rule.name, "unit": rule.unit, "says": rule.says},
        "operations": total.operations(rule),
        "parts": rule.parts(total.work),
        "sections": sections,
    }
