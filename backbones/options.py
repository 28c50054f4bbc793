"""What the methods of a backbone take besides images: numbers of feature maps, sizes of images, words. Out: as they are meant,
or a ScanError that says what there is."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral

from scanlang.backbones.origin import shown
from scanlang.diagnostics import ScanError
from scanlang.errors import WrongOption
from scanlang.errors.words import one_of
from scanlang.source import Span


def chosen_features(name: str, indices: object, count: int, span: Span) -> list[int]:
    """The numbers of feature maps: all for None, the last n for n, else those said, negative ones from the last."""
    if indices is None:
        return list(range(count))
    few = whole(indices)
    if few is not None and 1 <= few <= count:
        return list(range(count - few, count))
    numbers = [whole(one) for one in indices] if isinstance(indices, Iterable) and not isinstance(indices, str) else []
    chosen = [number % count for number in numbers if number is not None and -count <= number < count]
    if chosen and len(chosen) == len(numbers):
        return chosen
    there = f"there are {count} feature maps, 0 to {count - 1}" if count else "the program marks no feature maps"
    raise ScanError([WrongOption(span, name, shown(indices), f"{there}; None is all of them, n the last n")])


def image_size(img_size: object, span: Span) -> tuple[int, int]:
    """`224`, or `(224, 160)`."""
    lengths: list[int | None] = [whole(img_size)] * 2
    if isinstance(img_size, Iterable) and not isinstance(img_size, str):
        lengths = [whole(length) for length in img_size]
    match lengths:
        case [int(height), int(width)] if min(height, width) >= 1:
            return height, width
    raise ScanError([WrongOption(span, "img_size", shown(img_size), "it is one length, or height and width")])


def word_of(name: str, value: object, known: tuple[str, ...], span: Span) -> str:
    if isinstance(value, str) and value in known:
        return value
    raise ScanError([WrongOption(span, name, shown(value), f"it is {one_of(tuple(repr(one) for one in known))}")])


def class_count(value: object, span: Span) -> int:
    count = whole(value)
    if count is not None and count >= 0:
        return count
    raise ScanError([WrongOption(span, "num_classes", shown(value), "it is the number of classes, 0 for none")])


def whole(value: object) -> int | None:
    """An integer of any library."""
    if isinstance(value, bool):
        return None
    return int(value) if isinstance(value, Integral) else None
