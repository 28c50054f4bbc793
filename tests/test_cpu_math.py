"""The C backend's own functions against wider arithmetic, in units in the last place, on dense grids and at the edges."""

from __future__ import annotations

import ctypes
import math
from functools import cache

import mpmath
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scanlang.codegen.cpu.build_c import load_c
from scanlang.codegen.cpu.c_math import Computing, prelude

NAMES = ("exp", "exp2", "expm1", "log", "log1p", "tanh", "erf", "sqrt", "abs")
Values = NDArray[np.float32] | NDArray[np.float64]


@cache
def library(computing: Computing, lanes: int) -> ctypes.CDLL:
    """`run_exp(from, to, count)` and so on."""
    parts = [prelude(computing, lanes, [*NAMES, "min", "max", "sums"])]
    parts += [
        f"void run_{name}(const real *from, real *to, int64_t count) {{\n"
        "    for (int64_t i = 0; i < count; i += LANES) {\n"
        "        const int64_t width = count - i < LANES ? count - i : LANES;\n"
        f"        store(to + i, v{name}(load(from + i, width)), width);\n    }}\n}}"
        for name in NAMES
    ]
    parts += [
        f"void run_{name}(const real *a, const real *b, real *to) {{ store(to, v{name}(load(a, 1), load(b, 1)), 1); }}"
        for name in ("min", "max")
    ]
    return load_c("\n".join(parts), f"functions_{computing}")


def call(name: str, values: Values, lanes: int = 0) -> Values:
    result = np.full_like(values, np.nan)
    code = getattr(library("float32" if values.dtype == np.float32 else "float64", lanes), f"run_{name}")
    code(ctypes.c_void_p(values.ctypes.data), ctypes.c_void_p(result.ctypes.data), ctypes.c_int64(values.size))
    return result


def grid(low: float, high: float, count: int) -> NDArray[np.float64]:
    """Evenly spaced, and evenly spaced in the logarithm on the positive side."""
    return np.concatenate([np.linspace(low, high, count), np.geomspace(max(low, 1e-30), high, count)])


RANGES = [
    ("exp", -87.3, 88.7, 2), ("exp", -1, 1, 2), ("exp2", -125.9, 127.9, 2), ("exp2", -1, 1, 2),
    ("expm1", -87.3, 88.7, 3), ("expm1", -1, 1, 3), ("expm1", -1e-6, 1e-6, 2),
    ("log", 1e-37, 3e38, 2), ("log", 0.5, 2, 2),
    ("log1p", -0.999999, 2, 2), ("log1p", -1e-6, 1e-6, 2), ("log1p", 0, 3e38, 2),
    ("tanh", -12, 12, 4), ("tanh", -1e-6, 1e-6, 4), ("erf", -5, 5, 4), ("sqrt", 0, 1e30, 1),
]  # fmt: skip


@pytest.mark.parametrize("lanes", [0, 4], ids=["native", "narrow"])
@pytest.mark.parametrize("name, low, high, most", RANGES)
def test_float32_against_float64(name: str, low: float, high: float, most: float, lanes: int) -> None:
    values = grid(low, high, 200_003).astype(np.float32)
    values = values[(values >= np.float32(low)) & (values <= np.float32(high))]
    wide = getattr(torch, name)(torch.from_numpy(values.astype(np.float64))).numpy()
    unit = np.spacing(np.abs(wide).astype(np.float32)).astype(np.float64)
    assert float(np.max(np.abs(call(name, values, lanes) - wide) / unit)) <= most


@pytest.mark.parametrize("lanes", [0, 4], ids=["native", "narrow"])
@pytest.mark.parametrize(
    "name, low, high", [("exp", -707.0, 709.0), ("exp", -1, 1), ("exp2", -1020, 1023), ("exp2", -1, 1),
                        ("expm1", -707.0, 709.0), ("expm1", -1, 1),
                        ("expm1", -1e-9, 1e-9), ("log", 1e-300, 1e300), ("log", 0.5, 2),
                        ("log1p", -0.999999, 2), ("log1p", 1e-9, 1e30), ("tanh", -20, 20), ("tanh", -1, 1)],
)  # fmt: skip
def test_float64_against_mpmath(name: str, low: float, high: float, lanes: int) -> None:
    values = grid(low, high, 1003)
    found = call(name, values, lanes)
    with mpmath.workprec(120):
        function = getattr(mpmath, name, lambda power: mpmath.mpf(2) ** power)  # it has no exp2
        exact = [function(mpmath.mpf(float(v))) for v in values]
        units = [abs(w - mpmath.mpf(float(f))) / float(np.spacing(abs(float(w)))) for w, f in zip(exact, found, strict=True)]
    assert max(units) <= 4


@pytest.mark.parametrize("computing", [np.float32, np.float64])
@pytest.mark.parametrize(
    "name, at, wanted",
    [("exp", 0.0, 1.0), ("exp", math.inf, math.inf), ("exp", -math.inf, 0.0), ("exp", 1e30, math.inf), ("exp", -1e30, 0.0),
     ("exp2", 0.0, 1.0), ("exp2", math.inf, math.inf), ("exp2", -math.inf, 0.0), ("exp2", 1e30, math.inf), ("exp2", -1e30, 0.0),
     ("exp2", 10.0, 1024.0), ("exp2", -3.0, 0.125), ("exp2", -1e5, 0.0),
     ("expm1", 0.0, 0.0), ("expm1", math.inf, math.inf), ("expm1", -math.inf, -1.0), ("expm1", 1e30, math.inf),
     ("expm1", -1e30, -1.0), ("expm1", -100.0, -1.0), ("expm1", 2.0**-100, 2.0**-100),
     ("log", 0.0, -math.inf), ("log", math.inf, math.inf), ("log", -1.0, math.nan), ("log", 1.0, 0.0),
     ("log1p", -1.0, -math.inf), ("log1p", -2.0, math.nan), ("log1p", math.inf, math.inf), ("log1p", 0.0, 0.0),
     ("tanh", math.inf, 1.0), ("tanh", -math.inf, -1.0), ("tanh", 0.0, 0.0), ("abs", -math.inf, math.inf),
     ("sqrt", -1.0, math.nan), ("sqrt", 0.0, 0.0), *((name, math.nan, math.nan) for name in NAMES)],
)  # fmt: skip
def test_edges(name: str, at: float, wanted: float, computing: type[np.float32] | type[np.float64]) -> None:
    for lanes in (0, 4):
        found = float(call(name, np.array([at], computing), lanes)[0])
        assert found == wanted or (math.isnan(found) and math.isnan(wanted)), f"{name}({at}) = {found}"


@pytest.mark.parametrize("name", ["min", "max"])
@pytest.mark.parametrize("a, b", [(1.0, 2.0), (2.0, 1.0), (math.nan, 1.0), (1.0, math.nan)])
def test_min_and_max_pass_nan_on(name: str, a: float, b: float) -> None:
    first, second, result = (np.array([v], np.float32) for v in (a, b, 0.0))
    code = getattr(library("float32", 0), f"run_{name}")
    code(*(ctypes.c_void_p(array.ctypes.data) for array in (first, second, result)))
    wanted = getattr(torch, {"min": "minimum", "max": "maximum"}[name])(torch.tensor(a), torch.tensor(b))
    assert float(result[0]) == float(wanted) or (math.isnan(result[0]) and math.isnan(float(wanted)))
