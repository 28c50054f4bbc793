"""The catalogue of findings: a frozen class per code, with the values its text shows, and how it is explained.

S0xx text and syntax, S1xx names, arity, axes and linearity, S2xx orders, S3xx blocks and backbones, S4xx schedules, S5xx calls.
"""

from __future__ import annotations

from scanlang.diagnostics import Diagnostic
from scanlang.errors.backbones import *
from scanlang.errors.blocks import *
from scanlang.errors.calls import *
from scanlang.errors.models import *
from scanlang.errors.names import *
from scanlang.errors.networks import *
from scanlang.errors.orders import *
from scanlang.errors.recurrences import *
from scanlang.errors.refused import *
from scanlang.errors.scans import *
from scanlang.errors.syntax import *
from scanlang.errors.units import *
from scanlang.errors.views import *
from scanlang.errors.weights import *
from scanlang.errors.words import closest as closest
from scanlang.errors.words import listed as listed


def _all_codes() -> dict[str, type[Diagnostic]]:
    classes = [value for value in globals().values() if isinstance(value, type) and issubclass(value, Diagnostic)]
    return {cls.code: cls for cls in sorted((cls for cls in classes if cls is not Diagnostic), key=lambda c: c.code)}


CATALOGUE: dict[str, type[Diagnostic]] = _all_codes()
