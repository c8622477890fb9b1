"""`papers`, and the tables that people read."""

import json

import pytest

from thalweg.cli.tables import number, recorded
from thalweg.core.errors import InputError


def test_all_papers(thalweg):
    done = thalweg("papers", "--json")
    assert (done.status, done.err) == (0, "")
    rows = {row["name"]: row for row in done.json}
    assert rows["stochastic-interpolants"]["arxiv"] == "2303.08797"
    assert "thalweg/flows/path.py" in rows["stochastic-interpolants"]["files"]
    assert "stochastic-interpolants" in thalweg("papers").out


@pytest.mark.parametrize("name", ["2303.08797", "arXiv:2303.08797v3", "stochastic-interpolants"])
def test_one_paper(name, thalweg):
    done = thalweg("papers", name)
    assert done.status == 0
    assert "https://arxiv.org/abs/2303.08797" in done.out


def test_an_unknown_paper(bad):
    assert "did you mean 'stochastic-interpolants'" in bad("papers", "stochastic-interpolant")
    assert "'2303.08797'" in bad("papers", "2303.0879")


def test_recorded_reproductions(tmp_path):
    claims = [{"claim": "a", "paper": 1.0, "here": 1.25, "baseline": None, "holds": True}]
    (tmp_path / "a.json").write_text(json.dumps({"name": "a", "seconds": 1, "claims": claims}))
    assert recorded(tmp_path)["a"]["claims"] == claims
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InputError, match="is not what"):
        recorded(tmp_path)


def test_numbers():
    assert number(1.23456, 0.0123) == "1.235 ± 0.012"
    assert (number(None), number(float("nan")), number(2.0, float("nan"))) == ("–", "–", "2")
