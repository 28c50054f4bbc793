"""What the backward keeps: never more than any other choice costs, conditions never, a state after a step for nothing much."""

from __future__ import annotations

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from scanlang.codegen.keep import COMPARISONS, COSTS, KEEPING, LOADING, choose_kept
from scanlang.codegen.kernel import Advance, Let


def cost(forward: list[Let], used: set[str], states: list[str], advances: list[Advance], again: set[str]) -> float:
    """What it costs to run `again` again and to keep what else is read; infinite if that is impossible."""
    made = {let.name: let for let in forward}
    after = {str(a.value) for a in advances if a.state in used}
    read = used | {str(a) for name in again for a in made[name].arguments}
    total = sum(COSTS.get(made[name].function, 1.0) for name in again)
    for name in read - again:
        if name in states:
            total += KEEPING
        elif name in made:
            total += math.inf if made[name].function in COMPARISONS else LOADING if name in after else KEEPING
    return total


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[Let], set[str], list[str], list[Advance]]:
    states = [f"h{i}" for i in range(draw(st.integers(0, 2)))]
    known = ["x", "p", *states]
    forward: list[Let] = []
    for i in range(draw(st.integers(1, 8))):
        function = draw(st.sampled_from(["add", "mul", "exp", "ge", "div"]))
        arguments = tuple(draw(st.sampled_from(known)) for _ in range(1 if function == "exp" else 2))
        forward.append(Let(f"v{i}", function, arguments))
        known.append(f"v{i}")
    used = set(draw(st.lists(st.sampled_from(known), min_size=1, max_size=5)))
    return forward, used, states, [Advance(state, draw(st.sampled_from(known))) for state in states]


@settings(max_examples=150, deadline=None)
@given(bodies())
def test_no_choice_costs_less(body: tuple[list[Let], set[str], list[str], list[Advance]]) -> None:
    forward, used, states, advances = body
    keep, again = choose_kept(forward, used, states, advances)
    chosen = {let.name for let in again}
    read = used | {str(a) for let in again for a in let.arguments}
    assert set(keep) == (read & ({let.name for let in forward} | set(states))) - chosen
    assert not {let.name for let in forward if let.function in COMPARISONS} & set(keep)
    names = [let.name for let in forward]
    best = min(
        cost(forward, used, states, advances, set(some))
        for count in range(len(names) + 1)
        for some in itertools.combinations(names, count)
    )
    assert cost(forward, used, states, advances, chosen) == best


def test_exponentials_are_kept_and_products_are_not() -> None:
    forward = [Let("e", "exp", ("x",)), Let("a", "mul", ("e", "x")), Let("b", "mul", ("x", "p"))]
    assert choose_kept(forward, {"a", "b", "e"}, (), ()) == (("e",), (forward[1], forward[2]))
    assert choose_kept(forward, {"a"}, (), ()) == (("a",), ())


def test_what_several_read_is_computed_again_once() -> None:
    """Two values behind four products: with one read, to keep it is cheaper than five products; with two, it is not."""
    chain = [Let(f"m{i}", "mul", (f"m{i - 1}" if i else "x", "p")) for i in range(4)]
    forward = [*chain, Let("a", "add", ("m3", "x")), Let("b", "add", ("m3", "p"))]
    assert choose_kept(forward, {"a"}, (), ()) == (("a",), ())
    assert choose_kept(forward, {"a", "b"}, (), ())[0] == ()


def test_a_new_state_is_the_old_one_of_the_step_after() -> None:
    forward = [Let("m", "mul", ("h", "x")), Let("s", "add", ("m", "p"))]
    assert choose_kept(forward, {"h", "s"}, ("h",), (Advance("h", "s"),)) == (("h", "s"), ())
    assert choose_kept(forward, {"h", "s"}, ("h",), ())[1] == tuple(forward)
