"""The part of a generated C file that no scan changes: vector types, loads and stores, sums over lanes, and own exp, exp2,
expm1, log, log1p, tanh and erf. In: the computing type and which functions are wanted. Out: C text.

Errors, in units in the last place, measured by the tests: exp, exp2, log and log1p within 2 in float32 and 4 in float64, expm1
and tanh within 4, erf as the C library's. NaN goes through, infinities and zeros give what C's own functions give; log and
log1p take subnormals as zero. Nothing needs -ffast-math, and -ffp-contract=fast harms nothing: where a sum is rounded to an
integer by a large constant, fusing the product only makes it more exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Computing = Literal["float32", "float64"]


@dataclass(frozen=True)
class Format:
    """What the functions need to know of a floating-point type."""

    real: str
    integer: str
    suffix: str
    size: int
    mantissa: int
    bias: int
    rounding: float
    exp_low: float
    exp_high: float
    ln2: tuple[float, float]
    exp: tuple[float, ...]
    exp2: tuple[float, ...]
    log_ln2: tuple[float, float]
    log: tuple[float, ...]
    root_half: int
    tanh: tuple[tuple[float, ...], tuple[float, ...]]


FLOAT32 = Format(
    "float", "int32_t", "f", 4, 23, 127, 12582912.0, -104.0, 89.0, (0.693145751953125, 1.4286068203094173e-06),
    (0.5, 0.16666576666119928, 0.04166655421298415, 0.008363232883682618, 0.0013926250831497611),
    (0.6931472028550832, 0.24022647913626452, 0.05550332471099889, 0.009618437357819915, 0.001339887442235872,
     0.00015353361889122217),
    (6.9313812256e-01, 9.0580006145e-06),
    (0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841),
    0x3F3504F3,
    ((-0.33333333296784917, 0.13333324546900985, -0.05396480717269521, 0.021819576964481138, -0.008531127316089638,
      0.0025334413063126116), (1.0,)),
)  # fmt: skip
FLOAT64 = Format(
    "double", "int64_t", "", 8, 52, 1023, 6755399441055744.0, -746.0, 710.0, (0.6931471805592082, 7.371002565167799e-13),
    (0.5, 0.16666666666666669, 0.041666666666623824, 0.008333333333330039, 0.0013888888917367081, 0.00019841269863171557,
     2.4801521057868204e-05, 2.7557268276905696e-06, 2.7620201591031547e-07, 2.5100472505694996e-08),
    (0.6931471805599453, 0.24022650695910072, 0.055504108664821625, 0.00961812910762848, 0.001333355814640647,
     0.00015403530393370734, 1.5252733841556773e-05, 1.3215486808705563e-06, 1.0178057087733941e-07, 7.0548973041554995e-09,
     4.4558179083360645e-10, 2.5729324177362305e-11),
    (6.93147180369123816490e-01, 1.90821492927058770002e-10),
    (0.6666666666666735130, 0.3999999999940941908, 0.2857142874366239149, 0.2222219843214978396, 0.1818357216161805012,
     0.1531383769920937332, 0.1479819860511658591),
    0x3FE6A09E00000000,
    ((-1.61468768441708447952e3, -9.92877231001918586564e1, -9.64399179425052238628e-1),
     (4.84406305325125486048e3, 2.23548839060100448583e3, 1.12811678491631932402e2, 1.0)),
)  # fmt: skip
FORMATS: dict[str, Format] = {"float32": FLOAT32, "float64": FLOAT64}

TYPES = """\
#include <stdint.h>

typedef {real} real;
{lanes}
typedef real vec __attribute__((vector_size(LANES * sizeof(real))));
typedef {integer} mask __attribute__((vector_size(LANES * sizeof(real))));
typedef u{integer} bits __attribute__((vector_size(LANES * sizeof(real))));
typedef vec loose __attribute__((aligned(sizeof(real)), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define COLD static __attribute__((noinline, cold, unused))
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (mask){{__VA_ARGS__}})
#endif

INLINE vec all(real value) {{ return value - (vec){{0}}; }}
INLINE vec as_vec(bits value) {{ return (vec)value; }}
INLINE vec select(mask chosen, vec yes, vec no) {{ return (vec)((chosen & (mask)yes) | (~chosen & (mask)no)); }}

// Loads and stores of `width` lanes; the last block of channels may be narrower than a vector.
COLD vec load_column(const real *from, int64_t stride, int64_t width) {{
    real lanes[LANES] = {{0}};
    for (int64_t i = 0; i < width; ++i) lanes[i] = from[i * stride];
    return *(const loose *)lanes;
}}
COLD void store_column(real *to, int64_t stride, vec value, int64_t width) {{
    real lanes[LANES];
    *(loose *)lanes = value;
    for (int64_t i = 0; i < width; ++i) to[i * stride] = lanes[i];
}}
INLINE vec load(const real *from, int64_t width) {{
    if (__builtin_expect(width == LANES, 1)) return *(const loose *)from;
    return load_column(from, 1, width);
}}
INLINE void store(real *to, vec value, int64_t width) {{
    if (__builtin_expect(width == LANES, 1)) *(loose *)to = value;
    else store_column(to, 1, value, width);
}}
INLINE void put(real *to, int64_t add, vec value, int64_t width) {{
    store(to, add ? load(to, width) + value : value, width);
}}
"""

FUNCTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    # name: what it needs, its text
    "abs": ((), "INLINE vec vabs(vec x) {{ return (vec)((mask)x & {all_but_sign}); }}"),
    "min": ((), "INLINE vec vmin(vec a, vec b) {{ return select((a < b) | (a != a), a, b); }}"),
    "max": ((), "INLINE vec vmax(vec a, vec b) {{ return select((a > b) | (a != a), a, b); }}"),
    "sqrt": ((), """\
INLINE vec vsqrt(vec x) {{
    for (int i = 0; i < LANES; ++i) x[i] = __builtin_sqrt{f}(x[i]);
    return x;
}}"""),
    "scale": ((), """\
// value * 2^n for an integer n, given also as the low bits of n + {rounding}.
INLINE vec scale(vec value, vec n, vec shifted) {{
#if defined(__AVX512DQ__) && LANES == {full}
    return __builtin_ia32_scalef{p}512_mask(value, n, value, -1, 4);
#else
    const bits biased = (bits)shifted - (bits)all({rounding}) + {twice_bias};
    const bits half = biased >> 1;
    return value * as_vec(half << {mantissa}) * as_vec((biased - half) << {mantissa});
#endif
}}"""),
    "exp slope": ((), """\
// x = n ln 2 + r with |r| <= ln 2 / 2: gives (e^r - 1) / r. Where x is huge or NaN, n says so to one instruction that scales by
// any n, if r is kept small; elsewhere x is clamped (NaN stays NaN). The low bits of `shifted` are those of n, for `scale`.
INLINE vec exp_slope(vec x, vec *rest, vec *n, vec *shifted) {{
#if !(defined(__AVX512DQ__) && LANES == {full})
    x = select(x > {exp_high}, all({exp_high}), x);
    x = select(x < {exp_low}, all({exp_low}), x);
#endif
    *shifted = x * {log2e} + {rounding};
    *n = *shifted - {rounding};
    vec r = (x - *n * {ln2_high}) - *n * {ln2_low};
#if defined(__AVX512DQ__) && LANES == {full}
    r = __builtin_ia32_range{p}512_mask(r, all({half}), 2, r, -1, 4);
#endif
    *rest = r;
    vec p = all({exp_last});
{exp_terms}
    return p * r + {one};
}}"""),
    "exp": (("scale", "exp slope"), """\
// e^x = 2^n e^r.
INLINE vec vexp(vec x) {{
    vec r, n, shifted;
    const vec slope = exp_slope(x, &r, &n, &shifted);
    return scale(slope * r + {one}, n, shifted);
}}"""),
    "exp2": (("scale",), """\
// 2^x = 2^n 2^r for x = n + r, |r| <= 1/2. One instruction gives r, also of what is huge.
INLINE vec vexp2(vec x) {{
#if defined(__AVX512DQ__) && LANES == {full}
    vec r, shifted = x;
    __asm__("vreduce{p} $8, %1, %0" : "=v"(r) : "v"(x));
    const vec n = x - r;
#else
    x = select(x > {exp2_high}, all({exp2_high}), x);
    x = select(x < {exp2_low}, all({exp2_low}), x);
    const vec shifted = x + {rounding}, n = shifted - {rounding}, r = x - n;
#endif
    vec p = all({exp2_last});
{exp2_terms}
    return scale(p * r + {one}, n, shifted);
}}"""),
    "expm1": (("scale", "exp slope"), """\
// e^x - 1 = 2^n (e^r - 1) + (2^n - 1); where 2^n is past the last digit of 1, e^x.
INLINE vec vexpm1(vec x) {{
    vec r, n, shifted;
    const vec slope = exp_slope(x, &r, &n, &shifted), near = slope * r;
    const vec power = scale(all({one}), n, shifted);
    return select(n > {digits}, scale(near + {one}, n, shifted), near * power + (power - {one}));
}}"""),
    "log of": ((), """\
// log(2^k (1 + f) + c 2^k / (1 + f)), with 1 + f between sqrt(1/2) and sqrt(2): fdlibm's form.
INLINE vec log_of(vec k, vec f, vec c) {{
    const vec s = f / (f + {two}), z = s * s, half = f * f * {half};
    vec p = all({log_last});
{log_terms}
    p = p * z;
    return ((s * (half + p) + (k * {log_ln2_low} + c)) - half + f) + k * {log_ln2_high};
}}
INLINE mask exponent(vec x, vec *f) {{
    const bits moved = (bits)x + ({one_bits} - {root_half});
    *f = as_vec((moved & {fraction}) + {root_half}) - {one};
    return (mask)(moved >> {mantissa}) - {bias};
}}"""),
    "log": (("log of",), """\
INLINE vec vlog(vec x) {{
    vec f;
    const vec k = __builtin_convertvector(exponent(x, &f), vec);
    vec y = log_of(k, f, all({zero}));
    y = select(x < {tiny}, -all({infinity}), y);
    y = select(x < {zero}, all({nan}), y);
    return select(x < {infinity}, y, x);
}}"""),
    "log1p": (("log of",), """\
// log(u + c), where u = 1 + x rounded and c what the rounding lost.
INLINE vec vlog1p(vec x) {{
    const vec u = x + {one};
    const vec lost = select(u > {two}, {one} - (u - x), x - (u - {one}));
    vec f;
    const mask k = exponent(u, &f);
    const mask near = k == 0, far = u > {far};
    const vec unscale = as_vec((bits)({bias} - k) << {mantissa});
    const vec c = (vec)((mask)(lost * unscale * ({one} - f + f * f)) & ~near & ~far);
    vec y = log_of(__builtin_convertvector(k, vec), select(near, x, f), c);
    y = select(u == {zero}, -all({infinity}), y);
    y = select(u < {zero}, all({nan}), y);
    return select(x < {infinity}, y, x);
}}"""),
    "tanh": (("exp", "abs"), """\
INLINE vec vtanh(vec x) {{
    const vec a = vabs(x), z = x * x;
    vec p = all({tanh_last}), q = all({tanh_under_last});
{tanh_terms}
    const vec small = x * (z * (p / q)) + x;
    const vec large = {one} - {two} / (vexp(a * {two}) + {one});
    const vec signed_large = (vec)((mask)large | ((mask)x & ~{all_but_sign}));
    return select(a < {tanh_split}, small, signed_large);
}}"""),
    "erf": ((), """\
extern {real} erf{f}({real});
INLINE vec verf(vec x) {{
    for (int i = 0; i < LANES; ++i) x[i] = erf{f}(x[i]);
    return x;
}}"""),
    "sums": ((), """\
// Sums over lanes, of many vectors at once. fold_d(a, b) adds lanes d apart: of `a` where lane & d is 0, else of `b`. So in
// fold_2(fold_1(v0, v1), fold_1(v2, v3)) lane i has the sum of every fourth lane of v_i; store_sums folds four such.
{folds}
INLINE void store_sum(real *to, int first, vec sum) {{
    if (!first) sum += *(const loose *)to;
    *(loose *)to = sum;
}}
INLINE void store_sums(real *to, int first, vec a, vec b, vec c, vec d) {{
#if LANES == 16
    store_sum(to, first, fold_8(fold_4(a, b), fold_4(c, d)));
#elif LANES == 8
    store_sum(to, first, fold_4(a, b));
    store_sum(to + 8, first, fold_4(c, d));
#else
    store_sum(to, first, a);
    store_sum(to + 4, first, b);
    store_sum(to + 8, first, c);
    store_sum(to + 12, first, d);
#endif
}}"""),
    "units": (("sums",), """\
// Numbers that `every` so many channels have in common, of a block of channels that begins `within` a unit; those of the next
// unit are `stride` further.
INLINE mask lane_numbers(void) {{
    mask lane;
    for (int i = 0; i < LANES; ++i) lane[i] = i;
    return lane;
}}
static __attribute__((noinline, unused))
vec load_each(const real *from, int64_t every, int64_t stride, int64_t within, int64_t width) {{
    vec value = all(*from);
    for (int64_t next = every - within; next < width; next += every) {{
        from += stride;
        value = select(lane_numbers() >= ({integer})next, all(*from), value);
    }}
    return value;
}}
INLINE vec load_units(const real *from, int64_t every, int64_t stride, int64_t within, int64_t width) {{
    if (every % LANES == 0) return all(*from);
    if (LANES % every == 0 && width == LANES) {{
        vec value = all(*from);
        for (int next = every; next < LANES; next += every)
            value = select(lane_numbers() >= next, all(from[next / every * stride]), value);
        return value;
    }}
    if (every < LANES) return load_each(from, every, stride, within, width);
    const int64_t next = every - within;
    return select(lane_numbers() >= ({integer})next, all(from[next < width ? stride : 0]), all(*from));
}}
INLINE void add_sums(real *to, const vec *v) {{
    store_sums(to, 0, fold_2(fold_1(v[0], v[1]), fold_1(v[2], v[3])), fold_2(fold_1(v[4], v[5]), fold_1(v[6], v[7])),
               fold_2(fold_1(v[8], v[9]), fold_1(v[10], v[11])), fold_2(fold_1(v[12], v[13]), fold_1(v[14], v[15])));
}}
static __attribute__((noinline, unused))
void add_each(real *to, int64_t every, int64_t stride, int64_t within, int64_t width, const vec *values) {{
    vec v[16];
    for (int64_t begin = -within; begin < width; begin += every, to += stride) {{
        const int64_t end = begin + every < width ? begin + every : width;
        const mask lane = lane_numbers(), ours = (lane >= ({integer})begin) & (lane < ({integer})end);
        for (int i = 0; i < 16; ++i) v[i] = (vec)((mask)values[i] & ours);
        add_sums(to, v);
    }}
}}
// Sums over the lanes of each unit, of 16 vectors.
INLINE void add_units(real *to, int64_t every, int64_t stride, int64_t within, int64_t width, const vec *values) {{
    if (every % LANES == 0 && width == LANES) {{
        add_sums(to, values);
    }} else if (LANES % every == 0 && width == LANES) {{
        vec v[16];
        for (int i = 0; i < 16; ++i) v[i] = values[i];
        if (every > 1) for (int i = 0; i < 8; ++i) v[i] = fold_1(v[2 * i], v[2 * i + 1]);
        if (every > 2) for (int i = 0; i < 4; ++i) v[i] = fold_2(v[2 * i], v[2 * i + 1]);
#if LANES > 4
        if (every > 4) for (int i = 0; i < 2; ++i) v[i] = fold_4(v[2 * i], v[2 * i + 1]);
#endif
        for (int unit = 0; unit < LANES / every; ++unit)
            for (int i = 0; i < 16; ++i) to[unit * stride + i] += v[i / every][unit * every + i % every];
    }} else {{
        add_each(to, every, stride, within, width, values);
    }}
}}"""),
    "columns": ((), """\
// `count` numbers of each of a block of channels, one channel after the other, and as a vector for each number. A power of two
// vectors are sorted by halves: each round brings the next bit of a place to the front.
{zips}
INLINE void load_columns(vec *to, const real *from, int count, int64_t width) {{
    if (count & (count - 1) || count > 64 || width != LANES) {{
        for (int i = 0; i < count; ++i) to[i] = load_column(from + i, count, width);
        return;
    }}
    for (int i = 0; i < count; ++i) to[i] = *(const loose *)(from + i * LANES);
    for (int round = 1; round < count; round *= 2) {{
        vec before[64];
        for (int i = 0; i < count; ++i) before[i] = to[i];
        for (int i = 0; i < count / 2; ++i) {{
            to[i] = unzip_even(before[2 * i], before[2 * i + 1]);
            to[i + count / 2] = unzip_odd(before[2 * i], before[2 * i + 1]);
        }}
    }}
}}
INLINE void put_columns(real *to, int64_t add, const vec *values, int count, int64_t width) {{
    if (count & (count - 1) || count > 64 || width != LANES) {{
        for (int i = 0; i < count; ++i)
            store_column(to + i, count, add ? load_column(to + i, count, width) + values[i] : values[i], width);
        return;
    }}
    vec sorted[64];
    for (int i = 0; i < count; ++i) sorted[i] = values[i];
    for (int round = 1; round < count; round *= 2) {{
        vec before[64];
        for (int i = 0; i < count; ++i) before[i] = sorted[i];
        for (int i = 0; i < count / 2; ++i) {{
            sorted[2 * i] = zip_low(before[i], before[i + count / 2]);
            sorted[2 * i + 1] = zip_high(before[i], before[i + count / 2]);
        }}
    }}
    for (int i = 0; i < count; ++i) put(to + i * LANES, add, sorted[i], LANES);
}}"""),
}  # fmt: skip


def number(value: float, computing: Computing) -> str:
    """A literal of the computing type."""
    if value != value:
        return f'__builtin_nan{FORMATS[computing].suffix}("")'
    if value in (float("inf"), float("-inf")):
        return f"{'-' if value < 0 else ''}__builtin_inf{FORMATS[computing].suffix}()"
    return f"{float(value)!r}{FORMATS[computing].suffix}"


def prelude(computing: Computing, lanes: int, wanted: Iterable[str]) -> str:
    """Types and the wanted functions (`exp`, `tanh`, `sums` …) with what they need. `lanes` 0: as wide as the machine is."""
    known = FORMATS[computing]
    fields = _fields(known, computing)
    needed: set[str] = set()

    def need(name: str) -> None:
        needed.add(name)
        for other in FUNCTIONS[name][0]:
            need(other)

    for name in wanted:
        need(name)
    texts = [TYPES.format(real=known.real, integer=known.integer, lanes=_lanes(known, lanes))]
    texts += [text.format(**fields) + "\n" for name, (_, text) in FUNCTIONS.items() if name in needed]
    return "\n".join(texts)


def _lanes(known: Format, lanes: int) -> str:
    if lanes:
        return f"#define LANES {lanes}"
    return f"#ifdef __AVX512F__\n#define LANES {64 // known.size}\n#else\n#define LANES {32 // known.size}\n#endif"


def _fields(known: Format, computing: Computing) -> dict[str, str]:
    def show(value: float) -> str:
        return number(value, computing)

    above, below = known.tanh
    tanh_terms = _horner("p", "z", above, show) + (_horner("q", "z", below, show) if len(below) > 1 else [])
    return {
        "real": known.real, "integer": known.integer, "f": known.suffix, "p": "ps" if known.size == 4 else "pd",
        "full": str(64 // known.size),
        "all_but_sign": hex((1 << (8 * known.size - 1)) - 1), "mantissa": str(known.mantissa), "bias": str(known.bias),
        "twice_bias": str(2 * known.bias), "rounding": show(known.rounding),
        "exp_low": show(known.exp_low), "exp_high": show(known.exp_high), "log2e": show(1.4426950408889634),
        "ln2_high": show(known.ln2[0]), "ln2_low": show(known.ln2[1]), "exp_last": show(known.exp[-1]),
        "exp2_low": show(known.exp_low * 1.5), "exp2_high": show(known.exp_high * 1.5), "exp2_last": show(known.exp2[-1]),
        "exp2_terms": "\n".join(_horner("p", "r", known.exp2, show)),
        "exp_terms": "\n".join(_horner("p", "r", known.exp, show)),
        "log_ln2_high": show(known.log_ln2[0]), "log_ln2_low": show(known.log_ln2[1]), "log_last": show(known.log[-1]),
        "log_terms": "\n".join(_horner("p", "z", known.log, show)),
        "one_bits": hex(known.bias << known.mantissa), "root_half": hex(known.root_half),
        "fraction": hex((1 << known.mantissa) - 1), "tiny": show(2.0 ** (2 - known.bias - 1)),
        "far": show(2.0 ** (known.mantissa + 2)), "digits": show(float(known.mantissa + 1)),
        "tanh_last": show(above[-1]), "tanh_under_last": show(below[-1]),
        "tanh_terms": "\n".join(tanh_terms), "tanh_split": show(0.54 if known.size == 4 else 0.625),
        "zero": show(0.0), "half": show(0.5), "one": show(1.0), "two": show(2.0),
        "infinity": show(float("inf")), "nan": show(float("nan")),
        "folds": "\n".join(_folds(64 // known.size)), "zips": "\n".join(_zips(64 // known.size)),
    }  # fmt: skip


def _horner(result: str, variable: str, coefficients: Sequence[float], show: object) -> list[str]:
    """The steps after the last coefficient."""
    assert callable(show)
    return [f"    {result} = {result} * {variable} + {show(c)};" for c in reversed(coefficients[:-1])]


def _folds(most: int) -> list[str]:
    """fold_d for every distance, for vectors of `most` lanes and of the narrower ones."""
    lines = []
    lanes = most
    while lanes >= 4:
        lines.append(f"#{'if' if lanes == most else 'elif'} LANES == {lanes}")
        distance = lanes // 2
        while distance:
            first = [lane if not lane & distance else lanes + lane - distance for lane in range(lanes)]
            second = [lane + distance if not lane & distance else lanes + lane for lane in range(lanes)]
            lines += [
                f"INLINE vec fold_{distance}(vec a, vec b) {{",
                f"    return SHUFFLE(a, b, {', '.join(map(str, first))})",
                f"         + SHUFFLE(a, b, {', '.join(map(str, second))});",
                "}",
            ]
            distance //= 2
        lanes //= 2
    return [*lines, "#endif"]


def _zips(most: int) -> list[str]:
    """The even and odd lanes of two vectors, and what undoes that, for vectors of `most` lanes and of the narrower ones."""
    lines = []
    lanes = most
    while lanes >= 4:
        lines.append(f"#{'if' if lanes == most else 'elif'} LANES == {lanes}")
        zipped = [lane // 2 + lanes * (lane % 2) for lane in range(2 * lanes)]
        halves = {
            "unzip_even": range(0, 2 * lanes, 2), "unzip_odd": range(1, 2 * lanes, 2),
            "zip_low": zipped[:lanes], "zip_high": zipped[lanes:],
        }  # fmt: skip
        for name, order in halves.items():
            lines.append(f"INLINE vec {name}(vec a, vec b) {{ return SHUFFLE(a, b, {', '.join(map(str, order))}); }}")
        lanes //= 2
    return [*lines, "#endif"]
