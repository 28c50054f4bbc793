"""The small functions that generated Triton modules carry: accurate expm1, log1p and tanh, unpacking of words, sums over lanes.

Only what a module calls is printed into it (`helper_texts`), so that every module stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from math import comb

WARP = 32
_FETCH = "prefetch.global.L1 [$1]; mov.b32 $0, 0;"
LOG2_E = 1.4426950408889634

# log1p(q) / q on [0, 1], interpolated at Chebyshev nodes: 1.5 ulp after rounding in float32.
_LOG1P = (
    0.999999994656292, -0.49999892648063277, 0.3332971049891775, -0.24951616262872076, 0.19663274257204805,
    -0.15269667074363288, 0.10543623795419527, -0.05637361283010733, 0.019542527261014103, -0.00317605701843196,
)  # fmt: skip
# The same with 9.4e-6, a fortieth of what float16 rounds by, in four multiplications less.
_ROUGH_LOG1P = (
    0.9999905920354432, -0.499314652271837, 0.32484958072281855,
    -0.20907953599756066, 0.10013973265606613, -0.02344365580418084,
)  # fmt: skip
# expm1(x) / x on [-0.7, 0.7] in float32 and on [-0.5, 0.5] in float64, likewise: 1.7 and 1.3 ulp.
_EXPM1 = {
    "float32": (0.7, (1.0, 0.5000003221982158, 0.16666670240445536, 0.0416614098567841, 0.008332750181743731,
                      0.0014103015788625222, 0.0002007889419451124)),
    "float64": (0.5, (1.0, 0.5, 0.16666666666666666, 0.041666666666667664, 0.0083333333333334, 0.0013888888888569297,
                      0.0001984126984105686, 2.480158773980975e-05, 2.755731951602831e-06, 2.7557027169443954e-07,
                      2.50519137456348e-08, 2.0970151215169475e-09, 1.6121291390767837e-10)),
}  # fmt: skip


def helper_texts(text: str, compute: str, rough: bool = False, abreast: int = 1) -> list[str]:
    """The definitions of the helpers that `text` calls, those they call included, in a fixed order. `rough`, where every map
    has 16 bits; `abreast`, of how many chunks values have a row each."""
    names = ("fetch", "exp", "reciprocal", "expm1", "log1p_small", "log1p", "tanh", "floor_div", "floor_mod")
    found = [_fixed(name, compute, rough) for name in names if re.search(rf"(?<![\w.]){name}\(", text)]
    for kind, bits, place in sorted(set(re.findall(r"\b(float16|bfloat16|float32)_of_(32|64)_(\d)\(", text))):
        found.append(_unpack(kind, int(bits), int(place)))
    counts = sorted({(int(lanes), int(count)) for count, lanes in re.findall(r"\bsums_of_(\d+)_over_(\d+)\(", text)})
    found += [_lane_sums(count, lanes, abreast) for lanes, count in counts]
    return found + [_joined(abreast)] * ("joined(" in text)


def lane_index(count: int) -> int:
    """How many neighbouring lanes hold the same sum after `sums_of_<count>`: lane l holds sum l // this."""
    return WARP // _power(count)


def _power(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _fixed(name: str, compute: str, rough: bool) -> str:
    match name, compute:
        case "expm1", _:
            near, terms = _EXPM1[compute]
            power = f"tl.exp2(x * {LOG2_E!r})" if compute == "float32" else "tl.exp(x)"
            body = [
                f'"""exp(x) - 1: a polynomial up to {near}, where the difference loses what is small."""',
                *_polynomial("x", terms, compute),
                f"return tl.where(tl.abs(x) < {near}, b_sum * x, {power} - 1.0)",
            ]
            return _function("expm1(x)", body)
        case "log1p_small", "float32":
            bound, terms = ("1e-5", _ROUGH_LOG1P) if rough else ("2 ulp", _LOG1P)
            body = [
                f'"""log(1 + q) for 0 <= q <= 1, within {bound}: a polynomial, as lg2.approx loses small values."""',
                *_polynomial("q", terms, compute),
                "return b_sum * q",
            ]
            return _function("log1p_small(q)", body)
        case "log1p", "float32":
            body = [
                '"""log(1 + x): by log1p_small where it may be, log(1 + x) = -log(1 - x / (1 + x)); else log loses nothing."""',
                "b_whole = 1.0 + x",
                "q = tl.where(x < 0.0, -x / b_whole, x)",
                *_polynomial("q", _LOG1P, compute),
                "b_near = tl.where(x < 0.0, -b_sum * q, b_sum * q)",
                "return tl.where((x < -0.5) | (x > 1.0), tl.log(b_whole), b_near)",
            ]
            return _function("log1p(x)", body)
        case "fetch", _:
            body = [
                '"""Bring lines to the first cache: an instruction that waits for nothing. What it gives means nothing."""',
                "o_address = place.to(tl.int64)",
                f'tl.inline_asm_elementwise("{_FETCH}", "=r,l", [o_address], dtype=tl.int32, is_pure=False, pack=1)',
            ]
            return _function("fetch(place)", body)
        case "exp", _:
            body = [
                '"""A multiplication and one instruction (ex2.approx); results below 2**-126 are zero."""',
                f"return tl.exp2(x * {LOG2_E!r})",
            ]
            return _function("exp(x)", body)
        case "reciprocal", _:
            body = [
                '"""1 / x for 1 <= x <= 2: rsqrt and one Newton step, without the scaling of a division."""',
                "b_root = tl.rsqrt(x)",
                "b_near = b_root * b_root",
                "return b_near * (2.0 - x * b_near)",
            ]
            return _function("reciprocal(x)", body)
        case "log1p_small", _:
            body = [
                '"""log(1 + q) for 0 <= q <= 1, with the rounding of 1 + q put right."""',
                "b_sum = 1.0 + q",
                "return tl.log(b_sum) + (q - (b_sum - 1.0)) / b_sum",
            ]
            return _function("log1p_small(q)", body)
        case "log1p", _:
            body = [
                '"""log(1 + x), with the rounding of 1 + x put right where it matters."""',
                "b_sum = 1.0 + x",
                "b_lost = (x - (b_sum - 1.0)) / b_sum",
                "return tl.log(b_sum) + tl.where(tl.abs(x) < 1.0, b_lost, 0.0)",
            ]
            return _function("log1p(x)", body)
        case "tanh", _:
            series = _tanh_series(5 if compute == "float32" else 12)
            body = [
                '"""tanh with its relative accuracy kept near zero: a series up to 0.25, exponentials beyond."""',
                "b_square = x * x",
                f"b_sum = {series[-1]!r} * b_square + {series[-2]!r}",
                *(f"b_sum = b_sum * b_square + {c!r}" for c in series[-3::-1]),
                "b_decay = tl.exp(-2.0 * tl.abs(x))",
                "b_far = (1.0 - b_decay) / (1.0 + b_decay)",
                "b_far = tl.where(x < 0.0, -b_far, b_far)",
                "return tl.where(tl.abs(x) < 0.25, x * b_sum, b_far)",
            ]
            return _function("tanh(x)", body)
        case "floor_div", _:
            return _function("floor_div(a, n)", ['"""Rounds down; n is positive."""', "return (a - (a % n + n) % n) // n"])
        case _:
            return _function("floor_mod(a, n)", ['"""0 <= result < n; n is positive."""', "return (a % n + n) % n"])


def _polynomial(variable: str, terms: Sequence[float], compute: str) -> list[str]:
    """`b_sum = terms[0] + terms[1] * variable + …`. A number given to tl.fma is a float32."""
    form = "tl.fma({}, {}, {!r})" if compute == "float32" else "{} * {} + {!r}"
    first = f"b_sum = {form.format(variable, repr(terms[-1]), terms[-2])}"
    return [first, *(f"b_sum = {form.format('b_sum', variable, c)}" for c in terms[-3::-1])]


def _tanh_series(count: int) -> list[float]:
    """The first coefficients of tanh(x) / x in powers of x²."""
    bernoulli = [Fraction(1)]
    for m in range(1, 2 * count + 1):
        total = sum((comb(m + 1, k) * bernoulli[k] for k in range(m)), Fraction(0))
        bernoulli.append(-total / (m + 1))
    factorial, terms = 1, []
    for n in range(1, count + 1):
        factorial *= (2 * n - 1) * (2 * n)
        terms.append(float(Fraction(4**n * (4**n - 1)) * bernoulli[2 * n] / factorial))
    return terms


def _unpack(kind: str, bits: int, place: int) -> str:
    """Read the `place`-th number of a word. A bfloat16 is the upper half of a float32."""
    size = 32 if kind == "float32" else 16
    half = f"(word >> {32 * (place * size // 32)}).to(tl.uint32)" if bits == 64 else "word"
    upper = (place * size) % 32 == 16
    match kind:
        case "float32":
            value = f"{half}.to(tl.float32, bitcast=True)"
        case "bfloat16":
            value = f"({half} {'>> 16 << 16' if upper else '<< 16'}).to(tl.float32, bitcast=True)"
        case _:
            value = f"({half} >> {16 * upper}).to(tl.uint16).to(tl.float16, bitcast=True).to(tl.float32)"
    return _function(f"{kind}_of_{bits}_{place}(word)", [f"return {value}"])


def _joined(abreast: int) -> str:
    """What comes to each of the chunks abreast, and what leaves the last of them."""
    body = [
        '"""`decay * what comes + made` is what leaves a chunk. Gives what comes to every one, and what leaves the last."""'
    ]
    halves = ", 2" * (abreast.bit_length() - 1)
    for name in ("b_decay", "b_made"):
        body.append(f"{name}s = tl.reshape(tl.trans({name}), [LANES{halves}])")
        body += _halved(f"{name}s", name, 1, 0, abreast)
    body.append("b_coming = tl.reshape(b_first, [LANES])")
    body.append(f"b_all = tl.broadcast_to(b_coming[None, :], [{abreast}, LANES])")
    body.append(f"i_chunk = tl.arange(0, {abreast})[:, None]")
    for chunk in range(abreast):
        body.append(f"b_coming = tl.fma(b_decay_{chunk}, b_coming, b_made_{chunk})")
        if chunk + 1 < abreast:
            body.append(f"b_all = tl.where(i_chunk == {chunk + 1}, b_coming[None, :], b_all)")
    return _function("joined(b_decay, b_made, b_first)", [*body, "return b_all, b_coming[None, :]"])


def _halved(whole: str, name: str, step: int, first: int, abreast: int) -> list[str]:
    """`whole` has the numbers first, first + step, …: split into even and odd ones, until each has a name of its own."""
    if step == abreast:
        return []
    halves = [f"{name}_{at}" if 2 * step == abreast else f"{name}s_{2 * step}_{at}" for at in (first, first + step)]
    found = [f"{halves[0]}, {halves[1]} = tl.split({whole})"]
    return found + [line for i, half in enumerate(halves) for line in _halved(half, name, 2 * step, first + i * step, abreast)]


def _lane_sums(count: int, lanes: int, abreast: int) -> str:
    """Sums of `count` values over the lanes by exchanging halves: 31 exchanges for 32 values, where 32 full sums take 160."""
    names = [f"b_{i}" for i in range(count)]
    width = WARP // _power(count)
    body = [f'"""Lane l of the result holds the sum of value l // {width} over all {lanes} lanes."""']
    body += [f"{n} = tl.sum(tl.reshape({n}, [{lanes // WARP}, {WARP}]), axis=0)" for n in names if lanes > WARP]
    body += [f"{n} = tl.broadcast_to({n}, [{abreast}, {WARP}])" for n in names if abreast > 1]
    lane = f"tl.arange(0, {WARP})"
    body.append(f"o_lane = {f'tl.broadcast_to({lane}[None, :], [{abreast}, {WARP}])' if abreast > 1 else lane}")
    axis = 1 if abreast > 1 else 0
    distance, half = WARP // 2, _power(count) // 2
    while distance:
        body.append(f"o_other = o_lane ^ {distance}")
        if half and count > half:
            body.append(f"m_upper = (o_lane & {distance}) != 0")
        for i in range(min(half, count) if half else 1):
            body += _exchange(names[i], names[i + half] if half and i + half < count else None, axis)
        count = min(half, count) if half else 1
        distance, half = distance // 2, half // 2
    body.append("return b_0")
    return _function(f"sums_of_{len(names)}_over_{lanes}({', '.join(names)})", body)


def _exchange(low: str, high: str | None, axis: int) -> list[str]:
    if high is None:
        return [f"{low} += tl.gather({low}, o_other, {axis})"]
    return [
        f"b_sent = tl.where(m_upper, {low}, {high})",
        f"{low} = tl.where(m_upper, {high}, {low}) + tl.gather(b_sent, o_other, {axis})",
    ]


def _function(signature: str, body: list[str]) -> str:
    return "\n".join(["@triton.jit", f"def {signature}:", *("    " + line for line in body)]) + "\n"
