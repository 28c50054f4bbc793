"""The findings of one definition: each unknown name said once, and a way to ask whether anything was found so far.

The checks ask before they say what only follows from an earlier mistake (an input is unused: its use is misspelt).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scanlang.diagnostics import Diagnostic, Reporter
from scanlang.errors import UnknownName
from scanlang.source import Span


@dataclass
class Findings:
    reporter: Reporter
    count: int = 0
    unknown_names: set[tuple[str, str]] = field(default_factory=set)
    refused: set[type[Diagnostic]] = field(default_factory=set)

    @property
    def none(self) -> bool:
        return self.count == 0

    def report(self, diagnostic: Diagnostic) -> None:
        self.count += 1
        self.reporter.report(diagnostic)

    def refuse(self, diagnostic: Diagnostic) -> None:
        """Report what is no scan along orders: each idea once, since it takes several words."""
        self.count += 1
        if type(diagnostic) not in self.refused:
            self.reporter.report(diagnostic)
        self.refused.add(type(diagnostic))

    def unknown(
        self,
        kind: str,
        name: str,
        known: tuple[str, ...],
        span: Span,
        owner: str | None = None,
        library: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Report an unknown name, the first time that it is met."""
        self.count += 1
        if (kind, name) in self.unknown_names:
            return
        self.unknown_names.add((kind, name))
        self.reporter.report(UnknownName(span, kind, name, known, owner, library, hint))
