"""Draws from a run: files, conditions, solvers, densities, and what is refused."""

import io

import numpy as np
import pytest

from .test_fit import spoil


def test_ode_and_sde_write_where_they_say(thalweg, work):
    ode, sde = thalweg("sample", work, "--n", 7), thalweg("sample", work, "--n", 7, "--sde", 0.3)
    assert ode.out.strip() == str(work / "samples-ode.npy")
    assert sde.out.strip() == str(work / "samples-sde.npy")
    x, y = np.load(work / "samples-ode.npy"), np.load(work / "samples-sde.npy")
    assert x.shape == y.shape == (7, 2)
    assert not np.array_equal(x, y)


def test_the_same_seed_gives_the_same_samples(thalweg, run, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert thalweg("sample", run, "--n", 5, "--seed", seed, "--out", tmp_path / f"{name}.npy").status == 0
    a, b, c = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize("solver", ["euler", "midpoint", "rk4", "heun"])
def test_solvers(solver, thalweg, run, tmp_path):
    done = thalweg("sample", run, "--n", 4, "--steps", 5, "--solver", solver, "--out", tmp_path / "a.npy")
    assert done.status == 0, done.err


def test_conditions_guidance_and_densities(thalweg, run, tmp_path):
    words = ["--condition", "right", "--guidance", 1.5, "--log-prob", "--out", tmp_path / "a.npz", "--json"]
    done = thalweg("sample", run, "--n", 6, *words)
    assert (done.status, done.err) == (0, "")
    assert done.json["n"] == 6
    assert done.json["event"] == [2]
    with np.load(tmp_path / "a.npz") as file:
        assert set(file["c"]) == {1}
        assert file["log_prob"].shape == (6,)
        assert np.isfinite(file["log_prob"]).all()
    # By number, it is the same label.
    thalweg("sample", run, "--n", 6, "--condition", 1, "--guidance", 1.5, "--out", tmp_path / "b.npz")
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        np.testing.assert_array_equal(a["x"], b["x"])


def test_csv_keeps_the_columns(thalweg, run, tmp_path):
    assert thalweg("sample", run, "--n", 3, "--log-prob", "--out", tmp_path / "a.csv").status == 0
    header, *rows = (tmp_path / "a.csv").read_text().splitlines()
    assert header == "x,y,c,log_prob,log_prob_stderr"
    assert len(rows) == 3


def test_standard_output(process, run):
    child = process("sample", run, "--n", 4, "--out", "-", text=False)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert np.load(io.BytesIO(out)).shape == (4, 2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--n", "0"], "--n is 0"),
        (["--n", "-3"], "--n is -3"),
        (["--steps", "0"], "--steps is 0"),
        (["--sde", "-1"], "--sde is -1"),
        (["--solver", "huen"], "unknown solver 'huen'; did you mean 'heun'"),
        (["--condition", "lef"], "did you mean 'left'?; it was not in training"),
        (["--condition", "2"], "unknown label '2'"),
        (["--guidance", "-1"], "at least 0"),
        (["--out", "a.txt"], "expected .npy, .npz or .csv"),
        (["--out", "-", "--json"], "choose one"),
        (["--devices", "99"], "expected between 1 and"),
    ],
    ids=lambda w: " ".join(w) if isinstance(w, list) else "",
)
def test_bad_input(words, expected, run, thalweg):
    done = thalweg("sample", run, *words)
    assert done.status == 2
    assert expected in done.err
    assert done.err.count("\n") == 1


def test_pictures_are_of_images(bad, work):
    assert "--png draws images" in bad("sample", work, "--n", 3, "--png")


def test_what_is_not_a_run(bad, tmp_path, work):
    assert "there is no run directory" in bad("sample", tmp_path / "no")
    assert "is not a run directory" in bad("sample", tmp_path)
    (work / "run.json").write_text('{"kind": "thalweg run", "format": 99, "versions": {"thalweg": "9.9"}}')
    assert "format 99 (thalweg 9.9)" in bad("sample", work)


@pytest.mark.parametrize("damage", ["truncated", "missing", "version"])
def test_damaged_models(damage, bad, work):
    spoil(work / "model", damage)
    assert {"truncated": "damaged", "missing": "incomplete", "version": "format 99"}[damage] in bad("sample", work)
