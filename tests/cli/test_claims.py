"""`reproduce`: exit status, JSON and the files that it writes, on reproductions made up here."""

import json

import pytest

import thalweg.reproduce
from thalweg.reproduce import Claim, Reproduction

CLAIMS = {
    "good": (Claim("a is below b", "0.5", "0.48", "0.9", True), Claim("at scale", "1", "–", "–", None)),
    "poor": (Claim("a is below b", "0.5", "0.48", "0.9", True), Claim("c is above d", "2", "1.5", "1.6", False)),
}


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    def made(name):
        return lambda short: Reproduction(name, 1.0 if short else 2.0, CLAIMS[name])

    monkeypatch.setattr(thalweg.reproduce, "REPRODUCTIONS", {name: made(name) for name in CLAIMS})


def test_status_says_whether_every_testable_claim_holds(thalweg):
    done = thalweg("reproduce", "good", "--short", "--json")
    assert done.status == 0
    assert done.json == {
        "name": "good",
        "seconds": 1.0,
        "claims": [
            {"claim": "a is below b", "paper": "0.5", "here": "0.48", "baseline": "0.9", "holds": True},
            {"claim": "at scale", "paper": "1", "here": "–", "baseline": "–", "holds": None},
        ],
    }
    assert thalweg("reproduce", "poor", "--short").status == 1
    for words in (["all"], ["--all"], ["good", "poor"]):
        done = thalweg("reproduce", *words, "--short", "--json")
        assert done.status == 1
        assert [record["name"] for record in done.json] == ["good", "poor"]


def test_the_table(thalweg):
    done = thalweg("reproduce", "poor", "--short")
    assert "baseline here" in done.out
    assert "NO" in done.out


def test_it_writes_what_the_page_of_papers_reads(thalweg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert thalweg("reproduce", "good", "--short").status == 0
    assert not list(tmp_path.iterdir())
    assert thalweg("reproduce", "good").status == 0
    record = json.loads((tmp_path / "reproductions" / "good.json").read_text())
    assert (record["name"], record["seconds"], len(record["claims"])) == ("good", 2.0, 2)


def test_bad_input(bad):
    assert "did you mean 'good'" in bad("reproduce", "goood")
    assert "needs a name; known: good, poor" in bad("reproduce")
