"""What a message to the user is made of, how messages are collected, and the exceptions that carry them.

A pass reports frozen diagnostics of `scanlang.errors` to its `Reporter`; the pipeline raises them together at the end of
the stage as one `ScanError`. Rendering (carets, JSON) is in `render.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from scanlang.source import Span


@dataclass(frozen=True)
class Label:
    """A second place that a message points at, with a few words on it."""

    span: Span
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One finding. A subclass per code, in `scanlang.errors`, with the values that its text shows as fields."""

    code: ClassVar[str]
    explanation: ClassVar[str]
    span: Span

    @property
    def title(self) -> str:
        """The first line: what is wrong, naming the user's things."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What stands beside the carets: why, with values."""
        return ""

    @property
    def help(self) -> str | None:
        """What to do, only where it is surely right."""
        return None

    @property
    def related(self) -> tuple[Label, ...]:
        return ()


class ScanError(Exception):
    """What a user's mistake raises: `error.diagnostics` holds every finding of the stage that failed.

    `str(error)` is the rendered text, with places and carets; `error.diagnostics[0].code` is a code such as `S201`.
    """

    def __init__(self, diagnostics: tuple[Diagnostic, ...] | list[Diagnostic]) -> None:
        super().__init__(diagnostics)
        self.diagnostics = tuple(diagnostics)

    def __str__(self) -> str:
        from scanlang.render import render

        return "\n".join(render(diagnostic) for diagnostic in self.diagnostics)


class InternalError(Exception):
    """A mistake of the compiler's own: never the answer to a wrong program."""


@dataclass
class Reporter:
    """Collects the findings of one stage: `reporter.report(...)` as they are met, `reporter.check()` at the end."""

    diagnostics: list[Diagnostic] = field(default_factory=list)

    def report(self, diagnostic: Diagnostic) -> None:
        if diagnostic not in self.diagnostics:
            self.diagnostics.append(diagnostic)

    def check(self) -> None:
        """Raise what was collected, in the order of the text."""
        if self.diagnostics:
            raise ScanError(sorted(self.diagnostics, key=lambda d: (d.span.source.name, d.span.start, d.code)))
