"""How floating-point operations are counted: rules by name, each with what it says and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scanlang.networks.work_counts import Work

DENSE, SCANS, REST = "linear maps and convolutions", "scans", "norms, pools and resizing"


@dataclass(frozen=True)
class Rule:
    """`unit` is what it counts, `says` what it weighs; `parts` gives the count of every kind of work."""

    name: str
    unit: str
    says: str
    parts: Callable[[Work], dict[str, int]]

    def total(self, work: Work) -> int:
        return sum(self.parts(work).values())


def _macs(work: Work) -> dict[str, int]:
    return {DENSE: work.dense, SCANS: work.recurrent}


def _vmamba(work: Work) -> dict[str, int]:
    rest = 5 * work.normalised + 4 * work.standardised + work.pooled + 4 * work.resized
    return {DENSE: work.dense, SCANS: 9 * work.entries + work.outputs, REST: rest}


def _vim(work: Work) -> dict[str, int]:
    return {DENSE: work.dense, SCANS: 9 * work.entries}


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "macs",
            "MACs",
            "multiply-adds of linear maps, convolutions, projections and recurrences (one for every update of a state's entry)",
            _macs,
        ),
        Rule(
            "vmamba",
            "FLOPs",
            "VMamba's counter: 1 a multiply-add of linear maps and convolutions, 9*L*D*N + L*D a scan, 5 a value of a norm, "
            "1 a value of a pool; activations and sums are free",
            _vmamba,
        ),
        Rule(
            "vim",
            "FLOPs",
            "1 a multiply-add of linear maps and convolutions of every direction, 9*L*E*N a scan; all else is free",
            _vim,
        ),
    )
}

PUBLISHED: Mapping[str, str] = {"backbones/vmamba.scan": "vmamba", "backbones/vim.scan": "vim"}
"""The rule by which the numbers of a program's networks are published; `macs` goes for all others."""

USUAL = "macs"


def usual_rule(program: str) -> str:
    """For the backbones of a program, by the name that messages show for it."""
    return PUBLISHED.get(program, USUAL)
