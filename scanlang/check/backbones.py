"""The backbones of a file: chains of layers, and variants of others (`backbone small from vim { depth = 12 }`).

In: definitions as written, and what the file can name. Out: a `CheckedBackbone` each, or None after findings. A variant holds
everything that it has from its base.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scanlang.check.blocks import all_there, defaults_of
from scanlang.check.findings import Findings
from scanlang.check.library_names import library_program_with
from scanlang.check.network_formals import check_default, check_formals
from scanlang.check.network_layers import Statements, as_layer
from scanlang.check.network_scope import Scope, Things
from scanlang.check.program import CheckedBackbone, CheckedLayer, CheckedStatement, NetworkFormal
from scanlang.diagnostics import Reporter
from scanlang.errors import ContainsItself, DuplicateName, MisplacedFeature, NoLayers, NotLast, ReplacedByAnother, TooMany
from scanlang.limits import LIMITS
from scanlang.source import Span
from scanlang.syntax.nodes import Assignment, BackboneDefinition

ENDS = ("pool", "head")
"""What stands behind the features, in this order."""


@dataclass
class BackboneResolver:
    """Resolves the backbones of one file; `imported` holds None for one with findings of its own."""

    definitions: Mapping[str, BackboneDefinition]
    imported: Mapping[str, CheckedBackbone | None]
    things: Things
    reporter: Reporter
    resolved: dict[str, CheckedBackbone | None] = field(default_factory=dict)
    chain: list[str] = field(default_factory=list)

    def define(self, name: str) -> CheckedBackbone | None:
        """The backbone that this file defines under `name`."""
        if name in self.resolved:
            return self.resolved[name]
        definition = self.definitions[name]
        if name in self.chain:
            around = (*self.chain[self.chain.index(name) :], name)
            self.reporter.report(ContainsItself(self.definitions[around[0]].name_span, "backbone", around))
            self.resolved.update(dict.fromkeys(around))
            return None
        if len(self.chain) >= LIMITS.nesting:
            self.reporter.report(TooMany(definition.name_span, "backbones made from each other", LIMITS.nesting))
            self.resolved[name] = None
            return None
        self.chain.append(name)
        findings = Findings(self.reporter)
        backbone = self._plain(definition, findings) if definition.base is None else self._variant(definition, findings)
        self.chain.pop()
        return self.resolved.setdefault(name, backbone)

    def _plain(self, definition: BackboneDefinition, findings: Findings) -> CheckedBackbone | None:
        scope = Scope(self.things, findings, in_backbone=True)
        formals = check_formals(definition.formals, scope)
        statements = Statements(scope, defaults_of(formals))
        checked = [statements.check(item) for item in definition.statements]
        if not scope.layers:
            findings.report(NoLayers(definition.name_span, definition.name))
        check_ends(definition, scope, findings)
        return self._made(definition, all_there(formals), all_there(checked), findings)

    def _made(
        self,
        definition: BackboneDefinition,
        formals: tuple[NetworkFormal, ...],
        statements: tuple[CheckedStatement, ...],
        findings: Findings,
    ) -> CheckedBackbone | None:
        base = None if definition.base is None else definition.base.name
        backbone = CheckedBackbone(definition.name, formals, statements, definition.name_span, base)
        return backbone if findings.none else None

    def _variant(self, definition: BackboneDefinition, findings: Findings) -> CheckedBackbone | None:
        assert definition.base is not None
        name = definition.base.name
        if name in self.definitions:
            base = self.define(name)
        elif name in self.imported:
            base = self.imported[name]
        else:
            if self.things.complete:
                others = (other for other in self.definitions if other not in self.chain)
                known = tuple(dict.fromkeys((*others, *self.imported)))
                library = library_program_with(("backbone",), name)
                findings.unknown("backbone", name, known, definition.base.span, library=library)
            return None
        if base is None:
            return None
        formals, statements = Variant(base, changes(definition, findings), self.things, findings).merged()
        return self._made(definition, formals, statements, findings)


def changes(definition: BackboneDefinition, findings: Findings) -> dict[str, Assignment]:
    """What a variant says, by name."""
    found: dict[str, Assignment] = {}
    for item in definition.statements:
        if item.name in found:
            findings.report(DuplicateName(item.name_span, "name", item.name, found[item.name].name_span))
        found.setdefault(item.name, item)
    return found


@dataclass(frozen=True)
class Variant:
    base: CheckedBackbone
    changes: Mapping[str, Assignment]
    things: Things
    findings: Findings

    def merged(self) -> tuple[tuple[NetworkFormal, ...], tuple[CheckedStatement, ...]]:
        """Formals and statements of the base, those that are changed in the places of the old ones."""
        known = tuple(part.name for part in (*self.base.formals, *self.base.statements))
        for name, item in self.changes.items():
            if name not in known:
                self.findings.unknown("formal or layer", name, known, item.name_span, owner=self.base.name)
        scope = Scope(self.things, self.findings, in_backbone=True)
        formals: list[NetworkFormal | None] = []
        for formal in self.base.formals:
            formals.append(self._formal(formal, scope))
            scope.declare_formal(formal.name, formal.kind, formal.span)
        checker = Statements(scope, defaults_of(formals))
        return all_there(formals), all_there([self._statement(one, checker) for one in self.base.statements])

    def _formal(self, formal: NetworkFormal, scope: Scope) -> NetworkFormal | None:
        item = self.changes.get(formal.name)
        if item is None:
            return formal
        if item.feature:
            word = Span(item.span.source, item.span.start, item.span.start + len(item.feature))
            self.findings.report(MisplacedFeature(word, item.feature, item.name, f"it is a formal of `{self.base.name}`"))
        return check_default(replace(formal, span=item.span), item.value, scope)

    def _statement(self, old: CheckedStatement, checker: Statements) -> CheckedStatement | None:
        """A layer that is replaced stays a feature, unless the new one says which."""
        item = self.changes.get(old.name)
        if item is None:
            declare = checker.scope.declare_layer if isinstance(old, CheckedLayer) else checker.scope.declare_number
            declare(old.name, old.span)
            return old
        was_layer = isinstance(old, CheckedLayer)
        is_layer = as_layer(item.value) is not None or checker.uncalled(item.value) is not None
        if was_layer != is_layer:
            words = {True: "a layer", False: "a number"}
            finding = ReplacedByAnother(item.span, old.name, self.base.name, words[was_layer], words[is_layer], old.span)
            self.findings.report(finding)
            return None
        feature = item.feature or (old.feature if isinstance(old, CheckedLayer) else "")
        return checker.check(replace(item, feature=feature))


def check_ends(definition: BackboneDefinition, scope: Scope, findings: Findings) -> None:
    """`pool` and `head` come last, in this order."""
    layers = [item for item in definition.statements if scope.kinds.get(item.name) == "layer"]
    for place, item in enumerate(layers):
        behind = layers[place + 1 :]
        allowed = ENDS[ENDS.index(item.name) + 1 :] if item.name in ENDS else None
        wrong = next((other for other in behind if allowed is not None and other.name not in allowed), None)
        if wrong is not None:
            findings.report(NotLast(item.name_span, item.name, wrong.name, wrong.name_span))
