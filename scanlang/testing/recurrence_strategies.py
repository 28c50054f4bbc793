"""Strategies for recurrences as program text: linear in their states, tame in their numbers, every name used.

Inputs are meant to lie in -1 … 1 (`draw_inputs`). Decays lie in -1 … 1 and drives are bounded, so states stay small for
hundreds of steps; conditions compare inputs with numbers, so that no rounding decides a branch. Scales are those of sums that
are weighted by exponentials, and leave no trace but rounding in what is made of these sums.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from scanlang.check.program import HEAD, LABEL

NAMES = ("a", "b", "c", "d", "u", "v", "k", "q", "low", "gain", "A_log", "dt", "K", "W", "t", "h_1", "save", "states")
STATES = ("h", "s", "S", "state", "carry", "left", "right")
COUNTER = "k"
"""What merges call a direction, so no input is called so: it is the last name that is taken."""
CHANNEL = "p"
"""The index of the head: what has it is one for every channel."""


@dataclass(frozen=True)
class RandomRecurrence:
    """A recurrence's text, and what a scan around it must know. `labels` are those of its sizes, `sizes` a value for each.

    `inputs` have a number for every channel and nothing else, `units` are further inputs, `groups` are shared by some channels,
    `shared` by all. `constants` are parameters without channels, `moves` says that one of them has a value for every label of a
    step.
    """

    text: str
    name: str
    labels: tuple[str, ...]
    sizes: tuple[int, ...]
    inputs: tuple[str, ...]
    units: tuple[str, ...]
    shared: tuple[str, ...]
    groups: tuple[str, ...]
    params: tuple[str, ...]
    constants: tuple[str, ...]
    moves: bool


@dataclass
class _Scope:
    """Names in scope with their indices; `stateful` ones depend on states. `everywhere` is bound in the readout."""

    indices: tuple[str, ...]
    inputs: dict[str, tuple[str, ...]]
    everywhere: tuple[str, ...] = ()
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

    def compared(self, bound: tuple[str, ...]) -> list[str]:
        """What a condition may be about."""
        return [n for n, own in self.inputs.items() if set(own) <= set(bound)]

    def condition(self, draw: st.DrawFn, bound: tuple[str, ...]) -> str:
        name = draw(st.sampled_from(self.compared(bound)))
        self.used.add(name)
        sign = draw(st.sampled_from(("<", "<=", ">", ">=", "==", "!=")))
        return f"{written(name, self.names[name])} {sign} {draw(st.sampled_from(('0.1', '0', '0.25')))}"

    def possible(self, forms: tuple[str, ...], bound: tuple[str, ...]) -> list[str]:
        return [form for form in forms if "{condition}" not in form or self.compared(bound)]


def written(name: str, indices: tuple[str, ...]) -> str:
    return f"{name}[{', '.join(indices)}]" if indices else name


SMOOTH = ("sigmoid", "silu", "softplus", "tanh", "gelu")
FORMS = (
    "({a} + {b})", "({a} - {b})", "{a} * {b}", "{a} * {b}", "{a} / (1 + abs({b}))", "(-{a})", "exp(tanh({a}))",
    "exp(-abs({a}))", "log(1 + abs({a}))", "sqrt(1 + {p} * {p})", "relu({a})", "abs({a})", "min({a}, {b})", "max({a}, {b})",
    "where({condition}, {a}, {b})", "0.5 * ({a} + {b} + {p})", "(1 - {a}) * {b}", "prev({p})", "prev({p} * {p})",
    "({p} - prev({p}))",
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
    form = draw(st.sampled_from(scope.possible(FORMS, bound)))
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
    form = draw(st.sampled_from(scope.possible(forms, own)))
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


SCALED = (
    "{mean} = {sum} / {count}", "{mean} = {sum} / max(abs({count}), exp(-{top}))",
    "{mean} = {sum} / (abs({count}) + exp(-{top}))", "{mean} = exp({top}) * {sum} / (1 + exp({top}) * {count})",
    "{mean} = tanh({top} + log({count})) * {sum} / {count}",
)  # fmt: skip
EXCLUSIVE = (
    "{own} = {weight} + {bonus}", "scale {reach} = max(prev({top}), {own})",
    "{mean} = (exp(prev({top}) - {reach}) * prev({sum}) + exp({own} - {reach}) * {drive})"
    " / (exp(prev({top}) - {reach}) * prev({count}) + exp({own} - {reach}))",
)  # fmt: skip


@st.composite
def _stabilised(draw: st.DrawFn, scope: _Scope, number: int, own: tuple[str, ...]) -> list[str]:
    """Sums weighted by exponentials, held back by a running scale, and a mean made of them that no longer has it.

    The scale has some of the indices `own` of what is summed.
    """
    few = tuple(index for index in own if draw(st.booleans()))
    words = {word: written(f"{word}_{number}", few) for word in ("gate", "weight", "top", "count", "own", "reach")}
    words |= {word: written(f"{word}_{number}", own) for word in ("sum", "mean")}
    words["drive"] = f"tanh({draw(_expression(scope, own, False, 1))})"
    is_exclusive = draw(st.booleans())
    words["bonus"] = f"tanh({draw(_expression(scope, few, False, 1))})" if is_exclusive else ""
    largest = ("max({gate} + {top}, {weight})", "max(prev({top}) + {gate}, {weight})", "max({weight}, {gate} + {top})")
    lines = [
        f"{{gate}} = -softplus({draw(_expression(scope, few, False, 1))})",
        f"{{weight}} = 2 * tanh({draw(_expression(scope, few, False, 1))})",
        f"scale {{top}} = {draw(st.sampled_from(largest))}",
        "{sum} = exp({gate} + prev({top}) - {top}) * {sum} + exp({weight} - {top}) * {drive}",
        "{count} = exp({gate} + prev({top}) - {top}) * {count} + exp({weight} - {top})",
        *(EXCLUSIVE if is_exclusive else (draw(st.sampled_from(SCALED)),)),
    ]
    scope.names[f"mean_{number}"] = own
    scope.stateful.add(f"mean_{number}")
    return [line.format(**words) for line in lines]


@st.composite
def random_recurrences(draw: st.DrawFn, name: str = "random", moves: bool = False) -> RandomRecurrence:
    """`moves`: also tables with a value for every label of a step, which only a scan with `label moves` can use."""
    indices, channel = ("n", "m")[: draw(st.integers(0, 2))], draw(st.sampled_from(((), (), (CHANNEL,))))
    sizes = {f"{label} {index}": draw(st.integers(1, 3)) for label, index in zip(("state", "rank"), indices, strict=False)}
    sizes |= {f"{HEAD} {CHANNEL}": draw(st.integers(1, 4))} if channel else {}
    pool = sorted(draw(st.permutations(NAMES)), key=lambda name: name != COUNTER)
    some = st.lists(st.sampled_from(indices), unique=True, max_size=2).map(tuple) if indices else st.just(())
    some_or_channel = some.flatmap(lambda own: st.permutations((*own, *channel)).map(tuple) | st.just(own))
    inputs: dict[str, tuple[str, ...]] = dict.fromkeys(("x", "g")[: draw(st.integers(1, 2))], channel)
    units = {pool.pop(): draw(some_or_channel) for _ in range(draw(st.integers(0, 2)))}
    inputs |= {name: own for name, own in units.items() if own == channel}
    units = {name: own for name, own in units.items() if own != channel}
    shared = {pool.pop(): draw(some) for _ in range(draw(st.integers(0, 2)))}
    groups = {pool.pop(): draw(some) for _ in range(draw(st.sampled_from((0, 0, 1, 2))))}
    params = {pool.pop(): draw(some_or_channel) for _ in range(draw(st.integers(0, 3)))}
    kinds_of_constants = st.sampled_from(((), (LABEL,)) if moves else ((),))
    constants = {pool.pop(): (*label, *draw(some)) for label in draw(st.lists(kinds_of_constants, max_size=2))}
    size, is_open = draw(st.integers(1, 3)), draw(st.booleans())
    sizes |= {"group": size} if groups and is_open else {}
    per = "group units" if "group" in sizes else "1 unit" if size == 1 else f"{size} units"
    lines = [
        *_declared("input", {**inputs, **units}),
        *_declared("shared", shared),
        *_declared("shared", groups, f" per {per}"),
    ]
    lines += [*_declared("param", params), *_declared("shared param", constants)]
    maps = {**inputs, **units, **shared, **groups}
    scope = _Scope(indices, maps, channel, {**maps, **params, **constants})
    lines += draw(_equations(scope, pool, some_or_channel))
    lines.append(f"{written('y', channel)} = {draw(_readout(scope))}")
    text = f"recurrence {name}({', '.join(sizes)}) {{\n" + "".join(f"  {line}\n" for line in lines) + "}"
    return RandomRecurrence(
        text, name, tuple(formal.split()[0] for formal in sizes), tuple(sizes.values()), tuple(inputs), tuple(units),
        tuple(shared), tuple(groups), tuple(params), tuple(constants), moves=any(LABEL in own for own in constants.values()),
    )  # fmt: skip


def _declared(kind: str, operands: dict[str, tuple[str, ...]], per: str = "") -> list[str]:
    names = ", ".join(written(name, own) for name, own in operands.items())
    return [f"{kind} {names}{per}"] if operands else []


@st.composite
def _equations(draw: st.DrawFn, scope: _Scope, pool: list[str], indices: st.SearchStrategy[tuple[str, ...]]) -> list[str]:
    """All but the readout; new names are taken from `pool`, and have some of the indices."""
    kinds = ["state", *draw(st.lists(st.sampled_from(("state", "temporary", "stabilised")), max_size=3))]
    lines, state_names = list[str](), list(draw(st.permutations(STATES)))
    for kind in draw(st.permutations(kinds)):
        own = draw(indices)
        if kind == "stabilised":
            lines += draw(_stabilised(scope, len(lines), own))
            continue
        if kind == "state":
            new, states = state_names.pop(), True
            lines.append(f"{written(new, own)} = {draw(_update(scope, new, own))}")
        else:
            new, states = pool.pop(), draw(st.booleans())
            lines.append(f"{written(new, own)} = tanh({draw(_expression(scope, own, states, 3))})")
        scope.stateful |= {new} if states else set()
        scope.names[new] = own
    return lines


@st.composite
def _readout(draw: st.DrawFn, scope: _Scope) -> str:
    """An expression, plus every state and every name not used yet."""
    everywhere = scope.everywhere
    start = draw(_expression(scope, everywhere, True, 3))
    terms = []
    for name, own in scope.names.items():
        if name not in scope.used or name in scope.stateful:
            term = written(name, own)
            if draw(st.booleans()):
                term = f"{term} * {scope.read(draw, (*own, *everywhere), False)}"
            for index in own:
                term = f"sum({index}: {term})" if index not in (LABEL, *everywhere) else term
            terms.append(term)
    outer = draw(st.sampled_from(("{}", "tanh({})", "silu({})", "gelu({})")))
    return f"{start} + {outer.format(' + '.join(terms))}" if terms else start


def recurrences(name: str = "random") -> st.SearchStrategy[str]:
    """The text of a recurrence: states and matrix states, temporaries, values of the step before, sums that scales hold back;
    inputs and parameters of channels, units, groups and all; up to two indices, with a head or without.

    >>> @given(recurrences())
    ... def test_any(text): scanlang.loads(text)
    """
    return random_recurrences(name).map(lambda recurrence: recurrence.text)
