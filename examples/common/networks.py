"""A backbone for a set of images, made from a program, with a scan of the user's own where one is named."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import scanlang
from common.data import DataSet

CORE = "core"


@dataclass(frozen=True)
class NetworkChoice:
    """`program`: a file or a name of the library; `model`: which of its backbones, where there are several; `pattern`: what
    takes the place of the backbone's scan `core`: a scan of the program, `FILE`, or `FILE:SCAN`."""

    program: str
    model: str | None = None
    pattern: str | None = None

    def made(self, data: DataSet) -> scanlang.Backbone:
        """With as many classes as the data has, and without drop path, which would differ from process to process.

        Raises ScanError or OSError for programs that do not fit, SystemExit for scores of other classes than the data's.
        """
        program = scanlang.load(self.program)
        height, width = data.size
        values = {"in_chans": 1, "num_classes": data.classes, "img_height": height, "img_width": width, "drop_path_rate": 0}
        given: dict[str, Any] = {name: value for name, value in values.items() if name in self.formals(program)}
        if self.pattern is not None:
            given[CORE] = scan_named(self.pattern, program)
        model = scanlang.Backbone(program, self.model, **given)
        if model.num_classes != data.classes:
            raise SystemExit(f"{self.program}: {model.origin.name} needs a formal `num_classes` and a layer `head`")
        return model

    def formals(self, program: scanlang.Program) -> set[str]:
        own = [one for one in program.backbones.values() if one.span.source == program.source]
        backbone = program.backbones.get(self.model or (own[0].name if len(own) == 1 else ""))
        return set() if backbone is None else {formal.name for formal in backbone.formals}

    def about(self, model: scanlang.Backbone) -> dict[str, str | None]:
        """What tells one network from another: names, and a digest of the texts."""
        pattern = getattr(model.origin.given.get(CORE), "program", None)
        texts = [program.source.text for program in (model.origin.program, pattern) if program is not None]
        digest = sha256("\0".join(texts).encode()).hexdigest()[:16]
        pattern_name = None if self.pattern is None else Path(self.pattern).name
        return {"model": model.origin.name, "program": Path(self.program).name, "pattern": pattern_name, "texts": digest}


def scan_named(pattern: str, program: scanlang.Program) -> str | tuple[str, str]:
    """As `scanlang.Backbone` takes it."""
    file, colon, scan = pattern.rpartition(":")
    if pattern in program.scans or not colon or not scan.isidentifier():
        return pattern
    return file, scan
