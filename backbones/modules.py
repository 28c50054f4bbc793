"""Layers that torch does not have, or has with other ideas of types and ends. They take tensors, channels last or as images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanlang.backbones.feature import Feature, Tokens

POSITION_DEVIATION = 0.02


class LayerNorm(nn.LayerNorm):
    """In the type of its weights where that is wider, as under autocast on a GPU."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(widened(input, self.weight))


class RMSNorm(nn.RMSNorm):
    """The same."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(widened(x, self.weight))


def widened(x: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return x.float() if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64 else x
    return x if x.dtype == weight.dtype else x.to(torch.promote_types(x.dtype, weight.dtype))


class DropPath(nn.Module):
    """In training an image's values all become 0 with probability `rate`, and are scaled otherwise so that the mean stays."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = 1 - self.rate
        mask = x.new_empty((x.shape[0], *(1 for _ in x.shape[1:]))).bernoulli_(kept)
        return x * (mask / kept if kept > 0 else mask)

    def extra_repr(self) -> str:
        return f"{self.rate:g}"


class Scale(nn.Module):
    """A learned factor for each channel, or one for all; with a bias also a summand, 0 at the start."""

    def __init__(self, dim: int, initial: float, bias: bool = False) -> None:
        super().__init__()
        self.initial = initial
        self.weight = nn.Parameter(torch.full((dim,), float(initial)))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, self.initial)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight if self.bias is None else torch.addcmul(self.bias, x, self.weight)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, initial={self.initial:g}"


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.fc2(self.act(self.fc1(x)))
        return made


class RasterConv(nn.Conv1d):
    """`(B, cells, C)`, along the raster, channel by channel; an even kernel has one cell more before than behind.

    As a convolution of one row of an image, so that channels stay last.
    """

    def __init__(self, dim: int, kernel: int, bias: bool) -> None:
        super().__init__(dim, dim, kernel, groups=dim, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        cells, kernel = input.shape[1], self.kernel_size[0]
        row = input.movedim(-1, 1).unsqueeze(2)
        made = functional.conv2d(row, self.weight.unsqueeze(2), self.bias, padding=(0, kernel // 2), groups=self.groups)
        return made[..., :cells].squeeze(2).movedim(1, -1)


class AvgPool(nn.Module):
    """Means over the windows of an image; those at the end may be smaller, and are means of what they have."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, image: Tensor) -> Tensor:
        kernel = _fitting(self.kernel, image)
        return functional.avg_pool2d(image, kernel, self.stride, ceil_mode=True, count_include_pad=False)

    def extra_repr(self) -> str:
        return f"{self.kernel}, stride={self.stride}"


class MaxPool(AvgPool):
    """The same with maxima."""

    def forward(self, image: Tensor) -> Tensor:
        return functional.max_pool2d(image, _fitting(self.kernel, image), self.stride, ceil_mode=True)


def _fitting(kernel: int, image: Tensor) -> tuple[int, int]:
    """A window larger than the image is the image."""
    return min(kernel, image.shape[2]), min(kernel, image.shape[3])


class Upsample(nn.Module):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, image: Tensor) -> Tensor:
        return resized(image, [length * self.factor for length in image.shape[2:]])

    def extra_repr(self) -> str:
        return f"{self.factor}"


def resized(image: Tensor, size: Sequence[int], mode: str = "bilinear") -> Tensor:
    return functional.interpolate(image, size=list(size), mode=mode, align_corners=None if mode == "nearest" else False)


class SpaceToDepth(nn.Module):
    """`(B, C, H, W)` → `(B, f · f · C, H / f, W / f)`: the cells of a window side by side, column by column. Zeros fill windows
    at the end."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, image: Tensor) -> Tensor:
        f = self.factor
        missing_rows, missing_columns = -image.shape[2] % f, -image.shape[3] % f
        if missing_rows or missing_columns:
            image = functional.pad(image, (0, missing_columns, 0, missing_rows))
        windows: Tensor = image.movedim(1, -1).unflatten(2, (-1, f)).unflatten(1, (-1, f))
        return windows.permute(0, 1, 3, 4, 2, 5).flatten(3).movedim(-1, 1)

    def extra_repr(self) -> str:
        return f"{self.factor}"


class DepthToSpace(SpaceToDepth):
    """What undoes it, but for the zeros."""

    def forward(self, image: Tensor) -> Tensor:
        f = self.factor
        cells: Tensor = image.movedim(1, -1).unflatten(-1, (f, f, -1))
        return cells.permute(0, 1, 4, 2, 3, 5).flatten(3, 4).flatten(1, 2).movedim(-1, 1)


class Haar(nn.Module):
    """`(B, C, H, W)` → `(B, 4 · C, H / 2, W / 2)`: sums and differences of neighbours along every axis, the last one's changing
    first, scaled so that the transform is orthogonal. A zero fills an axis of odd length at its end."""

    def forward(self, image: Tensor) -> Tensor:
        bands = [image]
        for axis in range(2, image.dim()):
            bands = [band for one in bands for band in _low_and_high(one, axis)]
        return torch.cat(bands, 1) * _root(image)


class InverseHaar(nn.Module):
    """What undoes it, but for the zeros."""

    def forward(self, image: Tensor) -> Tensor:
        bands = list(image.chunk(1 << (image.dim() - 2), 1))
        for axis in reversed(range(2, image.dim())):
            bands = [
                torch.stack((low - high, low + high), axis + 1).flatten(axis, axis + 1)
                for low, high in zip(bands[::2], bands[1::2], strict=True)
            ]
        return bands[0] * _root(image)


def _low_and_high(image: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    if image.shape[axis] % 2:
        image = torch.cat((image, torch.zeros_like(image.narrow(axis, 0, 1))), axis)
    first, second = image.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return first + second, second - first


def _root(image: Tensor) -> float:
    """The square root of half, once for every axis."""
    return float(0.5 ** ((image.dim() - 2) / 2))


class Token(nn.Module):
    """Learned tokens behind what there is, under the name of the statement."""

    def __init__(self, name: str, dim: int, count: int) -> None:
        super().__init__()
        self.name = name
        self.weight = nn.Parameter(torch.empty(count, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.weight, std=POSITION_DEVIATION)

    def tokens(self, before: Tokens) -> Tokens:
        return (*before, (self.name, len(self.weight)))

    def forward(self, x: Feature) -> Feature:
        return x.with_token(self.name, self.weight.expand(x.rows.shape[0], -1, -1))

    def extra_repr(self) -> str:
        return f"{self.name}, {len(self.weight)}"


class PositionEmbedding(nn.Module):
    """`cells` `(rows, columns, C)`, and for every token a parameter of its name, `(count, C)`: added to what is there.

    On another grid those of the cells are interpolated (bicubic); tokens keep theirs.
    """

    def __init__(self, dim: int, rows: int, columns: int) -> None:
        super().__init__()
        self.cells = nn.Parameter(torch.empty(rows, columns, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.trunc_normal_(parameter, std=POSITION_DEVIATION)

    def learn(self, tokens: Tokens) -> None:
        """Make a parameter for every token that has none."""
        for name, count in tokens:
            if name not in self._parameters:
                values = self.cells.new_empty(count, self.cells.shape[-1])
                self.register_parameter(name, nn.Parameter(nn.init.trunc_normal_(values, std=POSITION_DEVIATION)))

    def resize(self, rows: int, columns: int) -> None:
        """Keep what was learned, for images of another size."""
        if self.cells.shape[:2] != (rows, columns):
            with torch.no_grad():
                self.cells = nn.Parameter(self.at((rows, columns)).clone(), self.cells.requires_grad)

    def at(self, grid: Sequence[int]) -> Tensor:
        """`(H, W, C)` for the cells of a grid."""
        if self.cells.shape[:2] == tuple(grid):
            return self.cells
        image = self.cells.movedim(-1, 0).unsqueeze(0)
        wide = image.to(torch.promote_types(image.dtype, torch.float32))
        return resized(wide, grid, "bicubic").squeeze(0).movedim(0, -1).to(image.dtype)

    def forward(self, x: Feature) -> Feature:
        parts: list[Tensor] = [self.at(x.grid).flatten(0, 1), *(getattr(self, name) for name, _ in x.tokens)]
        return x.with_rows(x.rows + (torch.cat(parts) if len(parts) > 1 else parts[0]))

    def extra_repr(self) -> str:
        return f"{', '.join(map(str, self.cells.shape))}"
