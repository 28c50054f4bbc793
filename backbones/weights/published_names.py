"""The names of published weights, beside those of the programs `backbones/programs/*.scan`: a table for each family.

A line says which weights are the same numbers in the same order, cut into other pieces: `layers.0.blocks.1.op.A_logs`,
`(384, 1)`, is `stage1.1.op.scan.A_log`, `(4, 96, 1)`. `*` stands for `weight` and for `bias`, `{i}` and `{j}` for numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

Shape = tuple[int, ...]

Shapes = Mapping[str, Shape]

Written = Literal["same", "merged", "heads", "conv1d", "row"]
"""How the published code shapes a weight: the same; `(K·C, N)` for `(K, C, N)`; `(K·C)` for `(K, C)`, or `(K, heads, P)` where
the weight beside it has one number for a head; `(C, 1, W)` for `(C, W)`; with a 1 before it."""


@dataclass(frozen=True)
class Rule:
    """`own` weights, one behind the other, are the `published` ones, one behind the other.

    With `each` there is a published one for every direction of the scan, whose own value has so many dimensions. With `beside`
    the rule is for networks that have this weight too.
    """

    own: tuple[str, ...]
    published: tuple[str, ...]
    written: Written = "same"
    each: int | None = None
    beside: str | None = None


@dataclass(frozen=True)
class Pair:
    """A rule with names filled in."""

    rule: Rule
    own: tuple[str, ...]
    published: tuple[str, ...]
    beside: str | None


def rule(own: str, published: str, written: Written = "same", each: int | None = None, beside: str | None = None) -> Rule:
    """Several names have blanks between them."""
    return Rule(tuple(own.split()), tuple(published.split()), written, each, beside)


_OP, _SS2D = "stage{i}.{j}.op", "layers.{i-1}.blocks.{j}.op"
_OF_SCAN: tuple[tuple[str, str, Written], ...] = (
    ("project_weight", "x_proj_weight", "same"),
    ("dt_weight", "dt_projs_weight", "same"),
    ("dt_bias", "dt_projs_bias", "same"),
    ("A_log", "A_logs", "merged"),
    ("D", "Ds", "heads"),
)

VMAMBA = (
    rule("stem.conv1.*", "patch_embed.0.*"),
    rule("stem.norm1.*", "patch_embed.2.*"),
    rule("stem.conv2.*", "patch_embed.5.*"),
    rule("stem.norm2.*", "patch_embed.7.*"),
    rule("stem.stem.conv1.*", "patch_embed.0.*"),
    rule("stem.stem.norm1.*", "patch_embed.2.*"),
    rule("stem.stem.conv2.*", "patch_embed.5.*"),
    rule("stem.stem.norm2.*", "patch_embed.7.*"),
    rule("stem.conv.*", "patch_embed.0.*"),
    rule("stem.norm.*", "patch_embed.2.*"),
    rule("stage{i}.{j}.norm1.*", "layers.{i-1}.blocks.{j}.norm.*"),
    rule("stage{i}.{j}.norm2.*", "layers.{i-1}.blocks.{j}.norm2.*"),
    rule("stage{i}.{j}.mlp.fc1.*", "layers.{i-1}.blocks.{j}.mlp.fc1.*"),
    rule("stage{i}.{j}.mlp.fc2.*", "layers.{i-1}.blocks.{j}.mlp.fc2.*"),
    rule(f"{_OP}.in_proj.weight", f"{_SS2D}.in_proj.weight"),
    rule(f"{_OP}.out_proj.weight", f"{_SS2D}.out_proj.weight"),
    rule(f"{_OP}.conv.depthwise.*", f"{_SS2D}.conv2d.*"),
    *(
        rule(f"{_OP}.scan.{own}", f"{_SS2D}.{published}", written, beside=f"{_OP}.scan.A_log")
        for own, published, written in _OF_SCAN
    ),
    *(
        rule(f"{_OP}.rows.{own} {_OP}.columns.{own}", f"{_SS2D}.{published}", written, beside=f"{_OP}.rows.A_log")
        for own, published, written in _OF_SCAN
    ),
    rule(f"{_OP}.norm.*", f"{_SS2D}.out_norm.*"),
    rule(f"{_OP}.norm.norm.*", f"{_SS2D}.out_norm.0.*", beside=f"{_OP}.norm.depthwise.weight"),
    rule(f"{_OP}.norm.depthwise.weight", f"{_SS2D}.out_norm.2.weight", beside=f"{_OP}.norm.norm.weight"),
    rule(f"{_OP}.norm.norm.*", f"{_SS2D}.out_norm.*"),
    rule(f"{_OP}.norm.depthwise.weight", f"{_SS2D}.out_norm.1.weight"),
    rule("down{i}.conv.*", "layers.{i-1}.downsample.1.*"),
    rule("down{i}.norm.*", "layers.{i-1}.downsample.norm.*", beside="down{i}.reduction.weight"),
    rule("down{i}.norm.*", "layers.{i-1}.downsample.3.*"),
    rule("down{i}.reduction.weight", "layers.{i-1}.downsample.reduction.weight"),
    rule("norm.*", "classifier.norm.*"),
    rule("head.*", "classifier.head.*"),
)


def _vim_layer(own: str, published: str) -> tuple[Rule, ...]:
    def of_scan(name: str, ahead: str, back: str, each: int, written: Written = "same") -> Rule:
        return rule(f"{own}.mixer.scan.{name}", f"{published}.mixer.{ahead} {published}.mixer.{back}", written, each)

    return (
        rule(f"{own}.norm.weight", f"{published}.norm.weight"),
        rule(f"{own}.mixer.in_proj.weight", f"{published}.mixer.in_proj.weight"),
        rule(f"{own}.mixer.out_proj.weight", f"{published}.mixer.out_proj.weight"),
        of_scan("conv_weight", "conv1d.weight", "conv1d_b.weight", 2, "conv1d"),
        of_scan("conv_bias", "conv1d.bias", "conv1d_b.bias", 1),
        of_scan("project_weight", "x_proj.weight", "x_proj_b.weight", 2),
        of_scan("dt_weight", "dt_proj.weight", "dt_proj_b.weight", 2),
        of_scan("dt_bias", "dt_proj.bias", "dt_proj_b.bias", 1),
        of_scan("A_log", "A_log", "A_b_log", 2),
        of_scan("D", "D", "D_b", 1),
    )


VIM = (
    rule("patch_embed.*", "patch_embed.proj.*"),
    rule("cls.weight", "cls_token", "row"),
    rule("cls.cls.weight", "cls_token_head", "row"),
    rule("cls.dist.weight", "cls_token_tail", "row"),
    *_vim_layer("layers.{i}", "layers.{i}"),
    *_vim_layer("layers.{i}.ahead", "layers.{2i}"),
    *_vim_layer("layers.{i}.back", "layers.{2i+1}"),
    rule("norm.weight", "norm_f.weight"),
    rule("head.*", "head.*"),
    rule("head.linear.*", "head.*"),
)


def pairs(rules: tuple[Rule, ...], shapes: Shapes) -> Iterator[Pair]:
    """The rules that are for a network with weights of these names and shapes, each weight in one of them at most."""
    taken: set[str] = set()
    for name in shapes:
        for one in rules if name not in taken else ():
            pair = _pair(one, name, shapes)
            if pair is not None:
                taken.update(pair.own)
                yield pair
                break


def _pair(one: Rule, name: str, shapes: Shapes) -> Pair | None:
    match = _pattern(one.own[0]).fullmatch(name)
    if match is None:
        return None
    own = tuple(_filled(pattern, match) for pattern in one.own)
    published = tuple(_filled(pattern, match) for pattern in one.published)
    beside = _filled(one.beside, match) if one.beside else None
    if any(other not in shapes for other in (*own, *((beside,) if beside else ()))):
        return None
    if one.each is not None:
        directions = shapes[name][0] if len(shapes[name]) > one.each else 1
        if directions > len(published):
            return None
        published = published[:directions]
    return Pair(one, own, published, beside)


@cache
def _pattern(name: str) -> re.Pattern[str]:
    text = re.escape(name).replace(r"\*", "(?P<leaf>weight|bias)")
    return re.compile(re.sub(r"\\\{([ij])\\\}", r"(?P<\1>\\d+)", text))


def _filled(pattern: str, match: re.Match[str]) -> str:
    """`layers.{i-1}` and the like, of what `{i}` was."""
    found = match.groupdict()

    def number(place: re.Match[str]) -> str:
        return str(int(found[place[2]]) * int(place[1] or 1) + int(place[3] or 0))

    return re.sub(r"\{(2?)([ij])([+-]1)?\}", number, pattern).replace("*", found.get("leaf") or "*")


def published_shape(pair: Pair, shapes: Shapes) -> Shape:
    """The shape that the published code gives to what the weights are; of one direction, where each has a name of its own."""
    shape = _joined(pair, shapes)
    if pair.rule.each is not None and len(shape) > pair.rule.each:
        shape = shape[1:]
    match pair.rule.written:
        case "merged":
            return (shape[0] * shape[1], *shape[2:]) if len(shape) > 2 else shape
        case "heads":
            assert pair.beside is not None
            of_heads = shapes[pair.beside]
            return (shape[0], of_heads[1], shape[1] // of_heads[1]) if len(of_heads) == 2 else (math.prod(shape),)
        case "conv1d":
            return (shape[0], 1, *shape[1:])
        case "row":
            return (1, *shape)
        case _:
            return shape


def _joined(pair: Pair, shapes: Shapes) -> Shape:
    """One behind the other."""
    parts = [shapes[name] for name in pair.own]
    return (sum(part[0] for part in parts), *parts[0][1:])


def fits(given: Shape, pair: Pair, shapes: Shapes) -> bool:
    """Whether a published weight of this shape is what the rule says; ones in a shape mean nothing (a linear map may be a
    1 × 1 convolution), and directions and channels may be in one dimension or in two."""
    if _without_ones(given) == _without_ones(published_shape(pair, shapes)):
        return True
    whole = _joined(pair, shapes)
    if pair.rule.each is not None or pair.rule.beside is None or len(whole) < 2:
        return False
    merged = whole[0] * whole[1], *whole[2:]
    return _without_ones(given) in (_without_ones(whole), _without_ones(merged))


def _without_ones(shape: Shape) -> Shape:
    return tuple(length for length in shape if length != 1)
