"""PAPERS.md is generated; these tests hold it to the source and to the recorded reproductions."""

import json
import re
import runpy
from pathlib import Path

import pytest

from thalweg.core.paper import Paper, implemented

ROOT = Path(__file__).resolve().parent.parent
# Loaded by path: scripts/ is a folder of programs, not a package.
script = runpy.run_path(str(ROOT / "scripts" / "make_papers.py"))
render, read_reproductions = script["render"], script["read_reproductions"]

INTERPOLANTS = Paper("interpolants", title="Interpolants | and more", arxiv="2303.08797", year=2023, eqs="2.1, 2.3")
OLD = Paper("old", title="An old one", arxiv="", year=1997, maturity="sketch")
CLAIMS = [
    {"claim": "a is below b", "paper": 0.5, "here": 0.48123456, "baseline": 0.9, "holds": True},
    {"claim": "c is below d", "paper": "about 2", "here": 3.0, "baseline": None, "holds": False},
    {"claim": "e at a thousand GPUs", "paper": 1, "here": None, "baseline": None, "holds": None},
]


def test_the_page_is_up_to_date():
    page = (ROOT / "PAPERS.md").read_text(encoding="utf-8")
    assert page == render(implemented(), read_reproductions(ROOT)), "run `make papers`"


def test_slugs_are_unique():
    names = [paper.name for paper in implemented()]
    assert len(set(names)) == len(names), "two different papers share a name, or one is marked in two ways"
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names), names


def test_reproduced_means_that_a_reproduction_is_recorded():
    recorded = read_reproductions(ROOT)
    empty = [p.name for p in implemented() if p.maturity == "reproduced" and p.name not in recorded]
    assert not empty, f"marked as reproduced without reproductions/<name>.json: {empty}"


def test_files_tests_and_claims_are_shown(tmp_path):
    (tmp_path / "tests" / "flows").mkdir(parents=True)
    (tmp_path / "tests" / "flows" / "test_interpolant.py").touch()
    papers = {OLD: ["thalweg/ot/old.py"], INTERPOLANTS: ["thalweg/flows/interpolant.py"]}
    page = render(papers, {"interpolants": {"name": "interpolants", "seconds": 12.4, "claims": CLAIMS}}, tmp_path)
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    # By title, so that a reader can find one.
    assert rows[2].startswith("| An old one (1997) | sketch | `src/thalweg/ot/old.py` | – | – | – |")
    assert "https://arxiv.org/abs/2303.08797" in rows[3]
    assert "`tests/flows/test_interpolant.py`" in rows[3]
    assert "1 of 2 claims hold" in rows[3]
    assert "| a is below b | 0.5 | 0.4812 | 0.9 | yes |" in rows
    assert "| c is below d | about 2 | 3 | – | **no** |" in rows
    assert "| e at a thousand GPUs | 1 | – | – | not tested at this size |" in rows
    # A bar in a title must not open another column.
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows[:4]}) == 1


def test_a_reproduction_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no source file is marked"):
        render({}, {"ghost": {"name": "ghost", "seconds": 1.0, "claims": []}}, tmp_path)


def test_a_misnamed_reproduction_is_refused(tmp_path):
    (tmp_path / "reproductions").mkdir()
    (tmp_path / "reproductions" / "a.json").write_text(json.dumps({"name": "b", "seconds": 1, "claims": []}))
    with pytest.raises(ValueError, match="must be 'a'"):
        read_reproductions(tmp_path)
