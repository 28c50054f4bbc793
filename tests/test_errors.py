"""Every message as a user sees it: `errors/CODE_slug.scan` is a wrong program, `errors/CODE_slug.err` its whole text.

A new case is a new `.scan` file. `python tests/test_errors.py` writes the `.err` of every case anew, to be read in the
diff; `python tests/test_errors.py S001 S2` only of those codes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scanlang.diagnostics import ScanError
from scanlang.errors import CATALOGUE
from scanlang.explain import catalogue_markdown, explain
from scanlang.syntax.text import read_source

FOLDER = Path(__file__).parent / "errors"
CASES = sorted(FOLDER.glob("S[0-2]*.scan"))
DOCUMENT = Path(__file__).parents[1] / "docs" / "errors.md"


def finding(case: Path) -> ScanError:
    """What is found in a case: a file beside its imports, but for S107, which is about programs without a folder."""
    from scanlang.pipeline import check_text

    root = None if case.stem.startswith("S107") else FOLDER
    with pytest.raises(ScanError) as caught:
        check_text(read_source(case, name=case.name), root)
    return caught.value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_message_is_the_expected_text(case: Path) -> None:
    assert f"{finding(case)}\n" == case.with_suffix(".err").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_first_code_is_the_one_in_the_name(case: Path) -> None:
    assert finding(case).diagnostics[0].code == case.stem.split("_")[0]


@pytest.mark.parametrize("code", [code for code in CATALOGUE if code[1] in "012"])
def test_every_code_has_a_case(code: str) -> None:
    assert any(case.stem.startswith(f"{code}_") for case in CASES), f"no tests/errors/{code}_*.scan"


def test_every_expected_text_has_its_program() -> None:
    assert {path.stem for path in FOLDER.glob("*.err")} == {path.stem for path in FOLDER.glob("*.scan")}


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_is_explained_with_programs(code: str) -> None:
    text = explain(code)
    assert text.startswith(f"## {code}\n")
    assert text.count("```") >= 4, "a wrong and a right program"


def test_unknown_code_names_near_ones() -> None:
    with pytest.raises(KeyError, match="S001"):
        explain("S0001")


def test_document_is_the_catalogue() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == catalogue_markdown(), "python -m scanlang.explain > docs/errors.md"


if __name__ == "__main__":
    chosen = [path for path in CASES if path.stem.startswith(tuple(sys.argv[1:]) or ("S",))]
    for path in chosen:
        path.with_suffix(".err").write_text(f"{finding(path)}\n", encoding="utf-8")
