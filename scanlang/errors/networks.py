"""S330 … S347: what goes through a block or backbone does not fit: channels, grids, tokens, kinds of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic, Label
from scanlang.errors.words import listed
from scanlang.source import Span


@dataclass(frozen=True)
class NetworkPlace:
    """A place in a network: the path of the block (`stage1.0.ffn`), empty in the chain of the backbone; the link of the chain
    that it is in, and what that is called and given."""

    path: str
    section: Span | None = None
    name: str = ""
    given: str = ""

    @property
    def inside(self) -> str:
        return f", in `{self.path}`" if self.path else ""


@dataclass(frozen=True)
class _InNetwork(Diagnostic):
    where: NetworkPlace

    @property
    def related(self) -> tuple[Label, ...]:
        return self._of_section()

    def _of_section(self) -> tuple[Label, ...]:
        where = self.where
        if where.section is None or where.section == self.span:
            return ()
        return (Label(where.section, f"`{where.name}` is given {where.given}"),)

    def _with_layer(self, layer: Span, text: str) -> tuple[Label, ...]:
        """With the place where the layer is made, but for a link of the chain, which stands there."""
        own = () if layer in (self.span, self.where.section) else (Label(layer, text),)
        return (*own, *self._of_section())


@dataclass(frozen=True)
class LayerChannels(_InNetwork):
    """`what` is the value in words; `made` is where the layer is made."""

    code: ClassVar[str] = "S330"
    layer: str
    wanted: int
    given: int
    what: str
    made: Span
    explanation: ClassVar[str] = """\
A layer is made for a number of channels, and what it is given has as many. The message names the layer, both numbers, and the
place in the network as names of parameters have it (`stage1.0.ffn`).

```
block ffn(dim) { up = linear(dim, 4 * dim)  down = linear(dim, dim)  forward x = down(gelu(up(x))) }    # wrong
```
```
block ffn(dim) { up = linear(dim, 4 * dim)  down = linear(4 * dim, dim)  forward x = down(gelu(up(x))) }    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.layer}` takes {_channels(self.wanted)} and is given {self.given}"

    @property
    def label(self) -> str:
        return f"{self.what} has {_channels(self.given)}{self.where.inside}"

    @property
    def related(self) -> tuple[Label, ...]:
        return self._with_layer(self.made, f"takes {_channels(self.wanted)}")


@dataclass(frozen=True)
class TokensInTheWay(_InNetwork):
    code: ClassVar[str] = "S331"
    layer: str
    tokens: tuple[str, ...]
    what: str
    explanation: ClassVar[str] = """\
Convolutions along the grid, pools, `resize` and what moves cells work on the cells of a grid; a token is not one of them. In a
block `cells(x)` is the map without its tokens. In a chain the tokens come later, or leave with a block before.

```
block b(dim) { conv = depthwise_conv2d(dim, 3)  forward x = x + conv(x) }    # wrong, where x has a class token
```
```
block b(dim) { conv = depthwise_conv2d(dim, 3)  forward x = conv(cells(x)) }    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.layer}` works on cells and is given {_tokens(self.tokens)} too"

    @property
    def label(self) -> str:
        return f"{self.what} has {_tokens(self.tokens)}{self.where.inside}"

    @property
    def help(self) -> str | None:
        return "`cells(x)` is a map without its tokens" if self.where.path else None


@dataclass(frozen=True)
class ScanTokens(_InNetwork):
    """`problem` says what differs; `inserted` is the direction that has tokens, None where the scan has none."""

    code: ClassVar[str] = "S332"
    layer: str
    problem: str
    tokens: tuple[str, ...]
    what: str
    inserted: Span | None
    instead: str | None
    explanation: ClassVar[str] = """\
A scan whose orders `insert` tokens takes features with these tokens, and no others: they are scanned along with the cells. The
names are the same, those of the `token` statements in the network, and so are the numbers.

```
backbone b(dim = 8) {    # wrong, where the orders of vim_v2 insert `cls`
  stem = conv2d(3, dim, 16, 16)
  cls_token = token(dim)
  mix = mixer(dim, core = vim_v2)
}
```
```
backbone b(dim = 8) {    # right
  stem = conv2d(3, dim, 16, 16)
  cls = token(dim)
  mix = mixer(dim, core = vim_v2)
}
```"""

    @property
    def title(self) -> str:
        return f"`{self.layer}` {self.problem}"

    @property
    def label(self) -> str:
        return f"{self.what} has {_tokens(self.tokens)}{self.where.inside}"

    @property
    def help(self) -> str | None:
        return self.instead

    @property
    def related(self) -> tuple[Label, ...]:
        return self._of_section() if self.inserted is None else self._with_layer(self.inserted, "scanned along this order")


@dataclass(frozen=True)
class ChannelsMeet(_InNetwork):
    """`left` and `right` are values in words, each with its channels."""

    code: ClassVar[str] = "S333"
    what: str
    left: tuple[str, int]
    right: tuple[str, int]
    explanation: ClassVar[str] = """\
Values that are added, multiplied or compared have as many channels each; one channel goes with any number, as does a number.

```
forward x = x + linear1(x)    # wrong, where linear1 makes 4 * dim channels of dim
```
```
forward x = x + linear2(gelu(linear1(x)))    # right, where linear2 makes dim of them again
```"""

    @property
    def title(self) -> str:
        return f"{self.left[1]} and {self.right[1]} channels meet in `{self.what}`"

    @property
    def label(self) -> str:
        (left, first), (right, second) = self.left, self.right
        return f"`{left}` has {_channels(first)}, `{right}` has {_channels(second)}{self.where.inside}"


@dataclass(frozen=True)
class GridsMeet(_InNetwork):
    """`left` and `right` are values in words, each with its grid where that of the image is `image`."""

    code: ClassVar[str] = "S334"
    what: str
    left: tuple[str, tuple[int, ...]]
    right: tuple[str, tuple[int, ...]]
    image: tuple[int, ...]
    explanation: ClassVar[str] = """\
Maps that meet have the same grid. The message gives both for one size of the image. `resize(x, y)` brings a map to the grid of
another one, and a convolution keeps the grid where its padding is half its (odd) kernel.

```
forward x = x + small(pool(x))    # wrong
```
```
forward x = x + resize(small(pool(x)), x)    # right
```"""

    @property
    def title(self) -> str:
        return f"maps of {_cells(self.left[1])} and {_cells(self.right[1])} cells meet in `{self.what}`"

    @property
    def label(self) -> str:
        (left, first), (right, second) = self.left, self.right
        image = f"where the image is {_cells(self.image)}, "
        return f"{image}`{left}` is {_cells(first)} and `{right}` {_cells(second)}{self.where.inside}"


@dataclass(frozen=True)
class TokensMeet(_InNetwork):
    code: ClassVar[str] = "S335"
    what: str
    left: tuple[str, tuple[str, ...]]
    right: tuple[str, tuple[str, ...]]
    explanation: ClassVar[str] = """\
Maps that meet have the same tokens, in the same order: they are added row by row, cells to cells and tokens to tokens.
`cells(x)` is a map without its tokens.

```
forward x = x + conv(cells(x))    # wrong, where x has a class token
```
```
forward x = cells(x) + conv(cells(x))    # right
```"""

    @property
    def title(self) -> str:
        return f"maps with different tokens meet in `{self.what}`"

    @property
    def label(self) -> str:
        (left, first), (right, second) = self.left, self.right
        return f"`{left}` has {_tokens(first)}, `{right}` has {_tokens(second)}{self.where.inside}"


@dataclass(frozen=True)
class BadSplit(_InNetwork):
    code: ClassVar[str] = "S336"
    what: str
    problem: str
    explanation: ClassVar[str] = """\
`split(x, 2)` makes two values with half the channels each, `split(x, 64, 32)` one of 64 and one of 32; nothing is left over. A
`let` gives each of them a name.

```
forward x = let a, b = split(in_proj(x), 3) in a * b    # wrong
```
```
forward x = let a, b = split(in_proj(x), 2) in a * b    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.what}` {self.problem}"

    @property
    def label(self) -> str:
        return self.where.inside.removeprefix(", ")


@dataclass(frozen=True)
class NoSuchToken(_InNetwork):
    code: ClassVar[str] = "S337"
    token: str
    tokens: tuple[str, ...]
    what: str
    explanation: ClassVar[str] = """\
`token(x, cls)` is the row that the statement `cls = token(dim)` has added to the feature.

```
block read_out() { forward x = token(x, class) }    # wrong, where the statement is `cls = token(dim)`
```
```
block read_out() { forward x = token(x, cls) }    # right
```"""

    @property
    def title(self) -> str:
        return f"there is no token `{self.token}`"

    @property
    def label(self) -> str:
        return f"{self.what} has {_tokens(self.tokens)}{self.where.inside}"


@dataclass(frozen=True)
class WrongKind(_InNetwork):
    """`wanted` and `given` are kinds of values in words."""

    code: ClassVar[str] = "S338"
    taker: str
    wanted: str
    given: str
    what: str
    explanation: ClassVar[str] = """\
A value is a map, which has cells, a vector, which has none any more (`mean(cells: x)`, `max(cells: x)`, `token(x, cls)`), or a
number. Linear maps, norms and functions take maps and vectors; convolutions, pools and scans need cells.

```
forward x = conv(mean(cells: x))    # wrong
```
```
forward x = x * sigmoid(fc(mean(cells: x)))    # right: a vector meets every cell
```"""

    @property
    def title(self) -> str:
        return f"`{self.taker}` takes {self.wanted} and is given {self.given}"

    @property
    def label(self) -> str:
        return f"{self.what} is {self.given}{self.where.inside}"


@dataclass(frozen=True)
class NoClassScores(_InNetwork):
    code: ClassVar[str] = "S339"
    given: str
    classes: int | None
    explanation: ClassVar[str] = """\
`head` makes a vector with a number for every class, `num_classes` of them where the backbone has this formal. A statement
`pool` before it makes a vector of the map.

```
backbone b(num_classes = 10) { stem = conv2d(3, 8, 4, 4)  head = linear(8, num_classes) }    # wrong: one for every cell
```
```
block mean_pool() { forward x = mean(cells: x) }
backbone b(num_classes = 10) { stem = conv2d(3, 8, 4, 4)  pool = mean_pool()  head = linear(8, num_classes) }    # right
```"""

    @property
    def title(self) -> str:
        return f"`head` makes {self.given}"

    @property
    def label(self) -> str:
        wanted = (
            "a vector with a number for every class"
            if self.classes is None
            else f"a vector of `num_classes` = {self.classes} channels"
        )
        return f"{wanted} is wanted"

    @property
    def help(self) -> str | None:
        if not self.given.startswith("a map"):
            return None
        return "a layer `pool` before it makes a vector of the map: `block means() { forward x = mean(cells: x) }`"


@dataclass(frozen=True)
class NoFeatureMap(_InNetwork):
    code: ClassVar[str] = "S340"
    name: str
    given: str
    explanation: ClassVar[str] = """\
What a statement with `feature` makes is a feature map: channels on a grid.

```
feature pool = mean_pool()    # wrong
```
```
feature stage4 = vss(768) * 2    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` makes no feature map"

    @property
    def label(self) -> str:
        return f"it makes {self.given}"


@dataclass(frozen=True)
class ScanMisfit(_InNetwork):
    code: ClassVar[str] = "S341"
    layer: str
    scan: str
    channels: int
    reason: str
    scan_span: Span
    explanation: ClassVar[str] = """\
The channels of a scan are whole heads and groups of heads, parts that `channels split` makes of them are whole too, and the
layers that its merge uses fit.

```
op = heads(100, head = 64)    # wrong
```
```
op = heads(128, head = 64)    # right
```"""

    @property
    def title(self) -> str:
        return f"scan `{self.scan}` cannot have {_channels(self.channels)}"

    @property
    def label(self) -> str:
        return f"{self.reason}{self.where.inside}"

    @property
    def related(self) -> tuple[Label, ...]:
        return self._with_layer(self.scan_span, f"`{self.scan}`")


@dataclass(frozen=True)
class NoFeatureInput(_InNetwork):
    """`operand` is where the recurrence declares the input `name` of the scan."""

    code: ClassVar[str] = "S342"
    scan: str
    name: str
    operand: Span
    explanation: ClassVar[str] = """\
What a block calls a scan with are features, maps with one number for every channel. An input of the scan that feeds a `shared`
operand, one with an index or one of units has another shape; in a block such an operand is projected.

```
scan s(dim) { input x, B  directions raster  recur ssm(state = 4)  project C from x }    # wrong, where shared B[n]
```
```
scan s(dim) { input x  directions raster  recur ssm(state = 4)  project B, C from x }    # right
```"""

    @property
    def title(self) -> str:
        return f"scan `{self.scan}` takes `{self.name}`, which is no feature"

    @property
    def label(self) -> str:
        return f"a block has one number for every channel to give{self.where.inside}"

    @property
    def related(self) -> tuple[Label, ...]:
        return self._with_layer(self.operand, "this has another shape")


@dataclass(frozen=True)
class ChannelsUneven(_InNetwork):
    """`parts` says what the channels are to be divided into."""

    code: ClassVar[str] = "S343"
    layer: str
    channels: int
    parts: str
    explanation: ClassVar[str] = """\
The groups of a convolution have as many channels each, as many in and as many out; `depth_to_space(2)` makes four cells of one,
each with a quarter of its channels.

```
conv = conv2d(96, 100, 3, groups = 8)    # wrong
```
```
conv = conv2d(96, 104, 3, groups = 8)    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.layer}` cannot divide {_channels(self.channels)} into {self.parts}"

    @property
    def label(self) -> str:
        return self.where.inside.removeprefix(", ")


@dataclass(frozen=True)
class TokenTwice(_InNetwork):
    code: ClassVar[str] = "S344"
    token: str
    explanation: ClassVar[str] = """\
Tokens are told apart by their names, those of the statements that add them. Several under one name are added at once.

```
cls = token(dim) * 2    # wrong
```
```
cls = token(dim, 2)    # right
```"""

    @property
    def title(self) -> str:
        return f"there is a token `{self.token}` already"

    @property
    def label(self) -> str:
        return f"it is added again{self.where.inside}"

    @property
    def help(self) -> str | None:
        return f"`{self.token} = token(dim, 2)` adds two of them"


@dataclass(frozen=True)
class GridTooSmall(_InNetwork):
    """`grid` is what the layer is given where the image is `image`."""

    code: ClassVar[str] = "S345"
    layer: str
    grid: tuple[int, ...]
    image: tuple[int, ...]
    explanation: ClassVar[str] = """\
A convolution needs a grid on which its kernel has a place, padding included.

```
scanlang count backbones.vim vim_tiny --size 8x8    # wrong: its patches have 16 x 16 cells
```
```
scanlang count backbones.vim vim_tiny --size 32x32    # right
```"""

    @property
    def title(self) -> str:
        return f"a grid of {_cells(self.grid)} is too small for `{self.layer}`"

    @property
    def label(self) -> str:
        return f"where the image is {_cells(self.image)}{self.where.inside}"


@dataclass(frozen=True)
class NoResult(_InNetwork):
    code: ClassVar[str] = "S346"
    what: str
    given: str
    explanation: ClassVar[str] = """\
A block makes a map or a vector. What `split` makes is several of them, which get names by `let`, or go through `concat`.

```
block halves(dim) { fc = linear(dim, dim)  forward x = split(fc(x), 2) }    # wrong
```
```
block gated(dim) { fc = linear(dim, 2 * dim)  forward x = let a, b = split(fc(x), 2) in a * silu(b) }    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.what}` makes {self.given}"

    @property
    def label(self) -> str:
        return f"{self.given} where one map or vector is needed{self.where.inside}"


@dataclass(frozen=True)
class WrongAxes(_InNetwork):
    code: ClassVar[str] = "S347"
    layer: str
    counts: tuple[int, ...]
    axes: tuple[str, ...]
    explanation: ClassVar[str] = """\
Convolutions, pools, position embeddings and what moves cells are those of images: they need a grid of two axes. A `batch_norm`
goes with three too.

```
grid t, h, w    # wrong, with `conv = depthwise_conv2d(dim, 3)`
```
```
grid h, w    # right
```"""

    @property
    def title(self) -> str:
        wanted = f"{'up to ' if len(self.counts) > 1 else ''}{max(self.counts)} axes"
        count = f"{len(self.axes)} ax{'i' if len(self.axes) == 1 else 'e'}s"
        return f"`{self.layer}` works on grids of {wanted}, and this one has {count}, {', '.join(self.axes)}"

    @property
    def label(self) -> str:
        return self.where.inside.removeprefix(", ")


def _channels(count: int) -> str:
    return f"{count} channel{'' if count == 1 else 's'}"


def _cells(grid: tuple[int, ...]) -> str:
    return " × ".join(map(str, grid))


def _tokens(names: tuple[str, ...]) -> str:
    if not names:
        return "no tokens"
    return f"the token{'' if len(names) == 1 else 's'} {listed(names)}"
