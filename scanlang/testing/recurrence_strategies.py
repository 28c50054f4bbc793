"""Strategies for recurrences as program text: linear in their states, tame in their numbers, every name used.

Inputs are meant to lie in -1 … 1 (`draw_inputs`). Decays lie in -1 … 1 and drives are bounded, so states stay small for
hundreds of steps; conditions compare inputs with numbers, so that no rounding decides a branch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from scanlang.check.program import LABEL

NAMES = ("a", "b", "c", "d", "u", "v", "k", "q", "low", "gain", "A_log", "dt", "K", "W", "t", "h_1", "save", "states")
STATES = ("h", "s", "S", "state", "carry")


@dataclass(frozen=True)
class RandomRecurrence:
    """A recurrence's text, and what a scan around it must know. `labels` gives index labels, `sizes` a size for each.

    `constants` are parameters without channels, `moves` says that one of them has a value for every label of a step.
    """

    text: str
    name: str
    labels: tuple[str, ...]
    sizes: tuple[int, ...]
    inputs: tuple[str, ...]
    shared: tuple[str, ...]
    params: tuple[str, ...]
    constants: tuple[str, ...]
    moves: bool


@dataclass
class _Scope:
    """Names in scope with their indices; `stateful` ones may not stand in a state's update."""

    indices: tuple[str, ...]
    inputs: dict[str, tuple[str, ...]]
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stateful: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    def read(self, draw: st.DrawFn, bound: tuple[str, ...], states: bool) -> str:
        known = {*bound, LABEL}
        fitting = [n for n, own in self.names.items() if set(own) <= known and (states or n not in self.stateful)]
        if not fitting:
            return "0.5"
        name = draw(st.sampled_from(fitting))
        self.used.add(name)
        return written(name, self.names[name])

    def condition(self, draw: st.DrawFn, bound: tuple[str, ...]) -> str:
        fitting = [n for n, own in self.inputs.items() if set(own) <= set(bound)]
        name = draw(st.sampled_from(fitting))
        self.used.add(name)
        sign = draw(st.sampled_from(("<", "<=", ">", ">=", "==", "!=")))
        return f"{written(name, self.names[name])} {sign} {draw(st.sampled_from(('0.1', '0', '0.25')))}"


def written(name: str, indices: tuple[str, ...]) -> str:
    return f"{name}[{', '.join(indices)}]" if indices else name


SMOOTH = ("sigmoid", "silu", "softplus", "tanh", "gelu")
FORMS = (
    "({a} + {b})", "({a} - {b})", "{a} * {b}", "{a} * {b}", "{a} / (1 + abs({b}))", "(-{a})", "exp(tanh({a}))",
    "exp(-abs({a}))", "log(1 + abs({a}))", "sqrt(1 + {p} * {p})", "relu({a})", "abs({a})", "min({a}, {b})", "max({a}, {b})",
    "where({condition}, {a}, {b})", "0.5 * ({a} + {b} + {p})", "(1 - {a}) * {b}",
)  # fmt: skip


@st.composite
def _expression(draw: st.DrawFn, scope: _Scope, bound: tuple[str, ...], states: bool, depth: int) -> str:
    """An expression over names whose indices are bound, a few units large at most."""
    choice = draw(st.integers(0, 9))
    if depth == 0 or choice < 2:
        return draw(st.sampled_from(("0.5", "2", "0.75"))) if choice == 0 else scope.read(draw, bound, states)
    unbound = [index for index in scope.indices if index not in bound]
    if choice < 4 and unbound:
        index = draw(st.sampled_from(unbound))
        return f"sum({index}: {draw(_expression(scope, (*bound, index), states, depth - 1))})"
    if choice < 6:
        return f"{draw(st.sampled_from(SMOOTH))}({draw(_expression(scope, bound, states, depth - 1))})"
    form = draw(st.sampled_from(FORMS))
    filled = {"a": "", "b": "", "p": "", "condition": ""}
    for part in ("a", "b"):
        if f"{{{part}}}" in form:
            filled[part] = draw(_expression(scope, bound, states, depth - 1))
    if "{p}" in form:
        filled["p"] = scope.read(draw, bound, states)
    if "{condition}" in form:
        filled["condition"] = scope.condition(draw, bound)
    return form.format(**filled)


@st.composite
def _update(draw: st.DrawFn, scope: _Scope, name: str, own: tuple[str, ...]) -> str:
    """A state's update, linear in its old value in one of many ways of writing it."""
    forms = (
        "{decay} * {state} + {drive}", "{state} * {decay} + {drive}", "{drive} + {decay} * {state}",
        "{drive} - {state} * {decay}", "{state} + {gate} * ({drive} - {state})",
        "({gate} * {state} + {drive}) / (1 + abs({any}))", "-({decay} * {state} - {drive})",
        "where({condition}, {decay} * {state}, {state} / 2) + {drive}", "(1 - {gate}) * {drive} + {gate} * {state}",
        "{state} * 0.5 + {gate} * ({state} * 0.25) + {drive}",
    )  # fmt: skip
    form = draw(st.sampled_from(forms))
    state, states = written(name, own), draw(st.booleans())
    inner = draw(_expression(scope, own, states, 2))
    filled = {
        "state": state,
        "decay": draw(st.sampled_from((f"tanh({inner})", f"exp(-softplus({inner}))", f"sigmoid({inner})"))),
        "gate": f"sigmoid({inner})",
        "drive": f"tanh({draw(_expression(scope, own, states, 2))}) * {scope.read(draw, own, False)}",
        "any": draw(_expression(scope, own, states, 1)) if "{any}" in form else "",
        "condition": scope.condition(draw, own) if "{condition}" in form else "",
    }
    return form.format(**filled)


@st.composite
def random_recurrences(draw: st.DrawFn, name: str = "random", moves: bool = False) -> RandomRecurrence:
    """`moves`: also tables with a value for every label of a step, which only a scan with `label moves` can use."""
    indices = ("n", "m")[: draw(st.integers(1, 2))]
    labels = {"n": "state", "m": "rank"}
    sizes = tuple(draw(st.integers(1, 3)) for _ in indices)
    pool = list(draw(st.permutations(NAMES)))
    some_indices = st.lists(st.sampled_from(indices), unique=True, max_size=2).map(tuple)
    inputs: dict[str, tuple[str, ...]] = dict.fromkeys(("x", "g")[: draw(st.integers(1, 2))], ())
    shared = {pool.pop(): draw(some_indices) for _ in range(draw(st.integers(1, 3)))}
    params = {pool.pop(): draw(some_indices) for _ in range(draw(st.integers(0, 3)))}
    kinds_of_constants = st.sampled_from(((), (LABEL,)) if moves else ((),))
    constants = {pool.pop(): (*label, *draw(some_indices)) for label in draw(st.lists(kinds_of_constants, max_size=2))}
    scope = _Scope(indices, {**inputs, **shared}, {**inputs, **shared, **params, **constants})
    lines = [f"  input {', '.join(inputs)}"]
    lines += [f"  shared {', '.join(written(n, own) for n, own in shared.items())}"]
    lines += [f"  param {written(n, own)}" for n, own in params.items()]
    lines += [f"  shared param {written(n, own)}" for n, own in constants.items()]
    kinds = ["state", *draw(st.lists(st.sampled_from(("state", "temporary")), max_size=3))]
    state_names = list(draw(st.permutations(STATES)))
    for kind in draw(st.permutations(kinds)):
        own = draw(some_indices)
        if kind == "state":
            new = state_names.pop()
            lines.append(f"  {written(new, own)} = {draw(_update(scope, new, own))}")
            scope.stateful.add(new)
        else:
            new, states = pool.pop(), draw(st.booleans())
            lines.append(f"  {written(new, own)} = tanh({draw(_expression(scope, own, states, 3))})")
            scope.stateful |= {new} if states else set()
        scope.names[new] = own
    lines.append(f"  y = {draw(_readout(scope))}")
    text = f"recurrence {name}({', '.join(f'{labels[i]} {i}' for i in indices)}) {{\n" + "\n".join(lines) + "\n}"
    return RandomRecurrence(
        text, name, tuple(labels[i] for i in indices), sizes, tuple(inputs), tuple(shared), tuple(params), tuple(constants),
        moves=any(LABEL in own for own in constants.values()),
    )  # fmt: skip


@st.composite
def _readout(draw: st.DrawFn, scope: _Scope) -> str:
    """An expression, plus every state and every name not used yet."""
    start = draw(_expression(scope, (), True, 3))
    terms = []
    for name, own in scope.names.items():
        if name not in scope.used or name in scope.stateful:
            term = written(name, own)
            if draw(st.booleans()):
                term = f"{term} * {scope.read(draw, own, False)}"
            for index in own:
                term = f"sum({index}: {term})" if index != LABEL else term
            terms.append(term)
    outer = draw(st.sampled_from(("{}", "tanh({})", "silu({})", "gelu({})")))
    return f"{start} + {outer.format(' + '.join(terms))}" if terms else start


def recurrences(name: str = "random") -> st.SearchStrategy[str]:
    """The text of a recurrence with one or two indices, temporaries, per-channel and shared inputs, and parameters.

    >>> @given(recurrences())
    ... def test_any(text): scanlang.loads(text)
    """
    return random_recurrences(name).map(lambda recurrence: recurrence.text)
