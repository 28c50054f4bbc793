"""Orders on one line."""

from __future__ import annotations

import pytest

import scanlang
from scanlang.arrows import AS_ASCII, FAR, NEAR, arrows


@pytest.mark.parametrize(
    ("text", "grid", "picture"),
    [
        ("raster", "h, w", "•→→→⇙→→→⇙→→→"),
        ("snake", "h, w", "•→→→↓←←←↓→→→"),
        ("reverse(columns)", "h, w", "•↑↑⇙↑↑⇙↑↑⇙↑↑"),
        ("zigzag", "h, w", "•→↙↓↗↗→↙↙→↗↓"),
        ("dilate(raster, 2)", "h, w", "•⇒⇙⇒"),
        ("reset(raster, every h)", "h, w", "•→→→ •→→→ •→→→"),
        ("insert(raster, cls at 7, end at tail)", "h, w", "•→→→⇙→→◆→⇙→→→◆"),
        ("insert(reset(raster, every h), cls at 4)", "h, w", "•→→→◆ •→→→ •→→→"),
        ("window(raster, 2, 2, pad = decay)", "h, w", "•→↙→↗→↙→⇙→∘∘→→∘∘"),
        ("window(raster, 4, 8, pad = decay)", "h, w", "•→→→∘∘∘∘⇙→→→∘∘∘…"),
        ("concat(dilate(raster, 4), dilate(raster, 4))", "h, w", "•↻"),
        ("raster", "l", "•→→→→→→→→→→→"),
        ("walk h, w, t", "t, h, w", "•⊗→⊗→⊗⇙⊗→⊗→⊗"),
        ("walk h, w, -t", "t, h, w", "•⊙→⊙→⊙⇙⊙→⊙→⊙"),
        ("insert(raster, cls at 1000)", "h, w", ""),
    ],
)
def test_pictures(text: str, grid: str, picture: str) -> None:
    assert arrows(scanlang.order(text, grid=grid)) == picture


def test_cells_that_the_call_names() -> None:
    program = scanlang.loads("grid h, w\norder o = input\norder p = insert(o, cls at head)")
    assert [arrows(order) for order in program.orders.values()] == ["?" * 12, f"◆{'?' * 12}"]


def test_every_sign_has_one_in_ascii() -> None:
    signs = "".join((*NEAR.values(), *FAR.values(), "⊗⊙↻•◆∘…"))
    assert signs.translate(AS_ASCII).isascii()
    assert "•→→→⇙".translate(AS_ASCII) == "o>>>/"
