"""Distances between whatever holds points."""

import numpy as np
import pytest


@pytest.fixture
def pair(tmp_path):
    """Two samples of different sizes, three apart along one axis."""
    rng = np.random.default_rng(1)
    np.save(tmp_path / "a.npy", rng.normal(size=(60, 2)) * [1, 0.5])
    np.save(tmp_path / "b.npy", rng.normal(size=(45, 2)) * [1, 0.5] + [3.0, 0.0])
    return tmp_path / "a.npy", tmp_path / "b.npy"


def test_json(thalweg, pair):
    done = thalweg("compare", *pair, "--json", "--permutations", 20)
    assert (done.status, done.err) == (0, "")
    assert all(row.keys() == {"distance", "value", "unit", "stderr", "pvalue", "converged"} for row in done.json)
    w2 = next(row for row in done.json if row["distance"].startswith("W2"))
    assert "not squared" in w2["unit"]
    assert w2["pvalue"] is None
    assert abs(w2["value"] - 3) < 0.5


def test_table_and_picture(thalweg, pair, tmp_path):
    done = thalweg("compare", *pair, "--permutations", 0, "--plot", tmp_path / "p.png")
    assert done.status == 0
    assert "sliced W2" in done.out
    assert "±" in done.out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_and_a_name(thalweg, work, bad):
    assert "holds no samples yet" in bad("compare", work, "two-moons:30")
    assert thalweg("sample", work, "--n", 20).status == 0
    assert thalweg("compare", work, "two-moons:30", "--permutations", 0).status == 0


def test_two_draws_of_one_toy_are_not_the_same_points(thalweg):
    rows = thalweg("compare", "spiral:40", "spiral:40", "--json", "--permutations", 0).json
    assert all(row["value"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["spiral:40", "digits"], "expected the same to compare"),
        (["spiral:40", "spral:40"], "did you mean 'spiral'"),
        (["spiral:40", "spiral:40", "--permutations", "-1"], "expected at least 0"),
        (["spiral:40", "spiral:40", "--permutations", "0", "--plot", "a.gif"], "expected .png or .svg"),
        (["spiral:40"], "Missing argument"),
    ],
    ids=lambda w: " ".join(w) if isinstance(w, list) else "",
)
def test_bad_input(words, expected, bad):
    assert expected in bad("compare", *words)


def test_columns_have_names_and_an_order(thalweg, tmp_path, bad):
    rng = np.random.default_rng(2)
    for name, header, shift in (("a", "length,width", 0.0), ("b", "length,width", 2.0), ("c", "width,length", 0.0)):
        table = rng.normal([0.0, shift], size=(40, 2))
        np.savetxt(tmp_path / f"{name}.csv", table, delimiter=",", header=header, comments="")
    rows = thalweg("compare", tmp_path / "a.csv", tmp_path / "b.csv", "--json", "--permutations", 0).json
    names = [row["distance"] for row in rows]
    assert "KS: width, largest of 2" in names
    assert any(name.startswith("PSI (10 bins") and name.endswith("width, largest of 2") for name in names)
    assert "W1 (exact)" in names
    assert "in another order" in bad("compare", tmp_path / "a.csv", tmp_path / "c.csv")
