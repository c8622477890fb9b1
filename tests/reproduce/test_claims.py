"""Claims and their table."""

import json

from thalweg.reproduce import REPRODUCTIONS, Claim, Reproduction, Stopwatch, table

GOOD = Claim("a is below b", "0.5", "0.48", "0.9", True)
POOR = Claim("c", "2", "1.5", "–", False)
UNTESTED = Claim("d at scale", "1", "–", "–", None)


def test_what_cannot_be_tested_counts_neither_way():
    assert Reproduction("x", 1.0, (GOOD, UNTESTED)).holds
    assert Reproduction("x", 1.0, ()).holds
    assert not Reproduction("x", 1.0, (GOOD, POOR)).holds


def test_as_json():
    made = Stopwatch().done("x", [GOOD, UNTESTED]).as_dict()
    assert made.keys() == {"name", "seconds", "claims"}
    assert json.loads(json.dumps(made))["claims"][1] == {
        "claim": "d at scale",
        "paper": "1",
        "here": "–",
        "baseline": "–",
        "holds": None,
    }


def test_the_table_is_aligned():
    lines = table([GOOD, POOR, UNTESTED]).splitlines()
    assert len({line.index(cell) for line, cell in zip(lines, ("holds", "yes", "NO", "not tested"), strict=True)}) == 1
    assert str(Reproduction("x", 61.0, (GOOD,))).startswith("x (61 s)\nclaim")


def test_every_reproduction_can_be_called():
    assert all(map(callable, REPRODUCTIONS.values()))
