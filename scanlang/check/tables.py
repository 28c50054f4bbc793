"""Tables: orders that a program takes from a file of numbers.

In: `table("mine.npy")` and the folder of the file that says so. Out: a `TableOrder`, every cell in it once, or findings.
Files are looked for below that folder only, as imports are, never unpickled, and never read beyond a number of cells.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanlang.check.findings import Findings
from scanlang.check.imports import outside
from scanlang.check.program import TableOrder
from scanlang.errors import TableAxes, TableNotAPermutation, TableNotRead, TooMany
from scanlang.limits import LIMITS
from scanlang.syntax.nodes import Text

HEADER = 10_000
"""More bytes than numpy reads of what it writes before the numbers."""

IntArray = NDArray[np.int64]


class NoTable(Exception):
    """Why a file is no table."""


class TooLarge(NoTable):
    """It has more cells than may still be read."""


@dataclass
class Contents:
    """What was read of the tables of a program and of what it imports: each file once, and none beyond the last cell.

    `found` by the file itself, `used` by its name below the folder of the file that says it.
    """

    found: dict[Path, NDArray[np.integer] | NoTable] = field(default_factory=dict)
    used: dict[Path, NDArray[np.integer]] = field(default_factory=dict)
    cells: int = 0

    def read(self, path: Path) -> NDArray[np.integer]:
        """The array of a file; raises NoTable."""
        if path not in self.found:
            self.found[path] = self.read_once(path)
        array = self.found[path]
        if isinstance(array, NoTable):
            raise array
        return array

    def read_once(self, path: Path) -> NDArray[np.integer] | NoTable:
        """Only the files that fit together into the limit take from it."""
        left = LIMITS.table_cells - self.cells
        try:
            array = read_array(path, left)
        except NoTable as reason:
            return reason
        self.cells += array.size
        return array


@dataclass(frozen=True)
class Tables:
    """The tables of one file of a program, which lies in `folder`; text lies in none."""

    folder: Path | None = None
    contents: Contents = field(default_factory=Contents)

    def order(self, text: Text, axes: tuple[str, ...], findings: Findings) -> TableOrder | None:
        """The order in a file; None after a finding."""
        try:
            array = self.contents.read(place(text.value, self.folder))
        except TooLarge:
            findings.report(TooMany(text.span, "cells in tables", LIMITS.table_cells))
            return None
        except NoTable as reason:
            findings.report(TableNotRead(text.span, text.value, str(reason)))
            return None
        if array.ndim not in (1, len(axes)):
            findings.report(TableAxes(text.span, text.value, array.shape, axes))
            return None
        finding = not_a_permutation(text, array)
        if finding is not None:
            findings.report(finding)
            return None
        if self.folder is not None:
            self.contents.used[self.folder / text.value] = array
        numbers = array.reshape(-1).astype(np.int64)
        cells = numbers if array.ndim == 1 else inverse(numbers)
        return TableOrder(text.value, array.shape, cells.astype("<i8").tobytes(), text.span)


def place(name: str, folder: Path | None) -> Path:
    """Where a table lies."""
    if folder is None:
        raise NoTable("a program given as text has no folder to look in")
    problem = outside(name, folder)
    if problem:
        raise NoTable(f"it leaves the folder of the program: {problem}")
    return (folder / name).resolve()


def read_array(path: Path, cells: int) -> NDArray[np.integer]:
    """An array of at most so many integers, and not empty."""
    most = HEADER + 8 * cells
    try:
        if path.exists() and not path.is_file():
            raise NoTable("it is no file")
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise NoTable("there is no such file") from None
    except (OSError, ValueError) as error:
        raise NoTable(getattr(error, "strerror", None) or str(error)) from None
    if len(data) > most:
        raise TooLarge
    if not data.startswith(b"\x93NUMPY"):
        raise NoTable("it is no file of one array, as `numpy.save` writes it")
    try:
        with warnings.catch_warnings(action="ignore"):
            array: NDArray[Any] = np.load(BytesIO(data), allow_pickle=False)
    except Exception:  # numpy raises many kinds at bytes that only look like its own
        raise NoTable("it is damaged, or holds Python objects") from None
    if array.dtype.kind not in "iu":
        raise NoTable(f"it holds {array.dtype}, not integers")
    if not array.size:
        raise NoTable("it is empty")
    if array.size > cells:
        raise TooLarge
    return np.asarray(array)


def not_a_permutation(text: Text, array: NDArray[np.integer]) -> TableNotAPermutation | None:
    """The first entry that is no cell, or that came before."""
    flat = array.reshape(-1)
    wrong = (flat < 0) | (flat >= flat.size)
    if wrong.any():
        at = int(np.argmax(wrong))
        return TableNotAPermutation(text.span, text.value, entry(at, array), int(flat[at]), flat.size)
    numbers = flat.astype(np.int64)
    first = np.full(flat.size, -1, dtype=np.int64)
    first[numbers[::-1]] = np.arange(flat.size)[::-1]
    again = first[numbers] != np.arange(flat.size)
    if not again.any():
        return None
    at = int(np.argmax(again))
    value, missing = int(flat[at]), int(np.argmax(first < 0))
    before = entry(int(first[value]), array)
    return TableNotAPermutation(text.span, text.value, entry(at, array), value, flat.size, before, missing)


def entry(at: int, array: NDArray[np.integer]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(at, array.shape))


def inverse(numbers: IntArray) -> IntArray:
    turned = np.empty_like(numbers)
    turned[numbers] = np.arange(numbers.size)
    return turned
