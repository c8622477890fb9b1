"""The marks from which the table of papers is made."""

from pathlib import Path

import thalweg
from thalweg.core import implemented

SOURCE = Path(thalweg.__file__).parent.parent


def test_every_mark_names_files_that_exist():
    found = implemented()
    assert len(found) >= 5
    for paper, files in found.items():
        assert files, paper
        assert all((SOURCE / file).is_file() for file in files), paper


def test_marks_are_well_formed():
    for paper in implemented():
        assert paper.name == paper.name.lower()
        assert " " not in paper.name
        assert 1950 < paper.year < 2100
        assert paper.maturity in ("reproduced", "checked", "sketch")
