"""`thalweg sample-density --method chains`: the answer, the refusal, resuming to the same bits, bad input, the page."""

import contextlib
import json

import numpy as np
import pytest

from thalweg import core
from thalweg.cli import chains
from thalweg.cli.density import chosen

FILE = """
import jax.numpy as jnp

def log_prob(x):
    return -0.5 * jnp.sum((x - 1.0) ** 2 / jnp.asarray([0.25, 4.0])) + 3.0

def wells(x):
    return jnp.logaddexp(-0.5 * jnp.sum((x - 12.0) ** 2), -0.5 * jnp.sum((x + 12.0) ** 2))

def half(x):
    return jnp.where(x[0] > 2.0, -jnp.sum(x**2), -jnp.inf)

def torn(x):
    return jnp.where(x[0] > 0.1, jnp.nan, -jnp.sum(x**2))
"""
# One shape for all runs: they share their compilations.
WORDS = ["--dim", "2", "--method", "chains", "--draws", "200", "--warmup", "100", "--leaps", "4", "--quiet"]
# Of so few draws R-hat is known to a few hundredths.
LOOSE = ["--max-rhat", "1.05"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("chains") / "target.py"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def answered(thalweg, file):
    out = file.parent / "run"
    return thalweg("sample-density", f"{file}:log_prob", *WORDS, *LOOSE, "--out", out, "--json"), out


@pytest.fixture(scope="module")
def refused(thalweg, file):
    """Chains that start in both wells, too far apart to be crossed."""
    out = file.parent / "wells"
    return thalweg("sample-density", f"{file}:wells", *WORDS, *LOOSE, "--base-std", "12", "--out", out), out


def test_averages_with_their_errors(answered):
    done, out = answered
    assert (done.status, done.err) == (0, "")
    found = done.json
    assert found["trusted"]
    assert max(found["rhat"]) < 1.05
    assert min(found["ess_bulk"] + found["ess_tail"]) > 50
    for name, truth in (("mean", [1.0, 1.0]), ("std", [0.5, 2.0])):
        error = np.asarray(found[f"{name}_stderr"])
        assert (np.abs(np.asarray(found[name]) - truth) < 4.5 * error).all()
        assert (error < 0.25 * np.asarray([0.5, 2.0])).all()
    assert len(found["acceptance"]) == 4
    assert all(0.3 < a < 0.95 for a in found["acceptance"])
    assert found["steps"] == 4 * (100 + 200)
    assert found["gradients"] == 4 * found["steps"]
    assert (found["divergent"], found["broken"]) == (0, 0)
    assert json.loads((out / "run.json").read_text())["evidence"] == found


def test_no_log_z_is_said_rather_than_left_empty(answered):
    found = answered[0].json
    assert not [name for name in found if "log_z" in name]
    assert "no log Z: chains do not give it" in found["note"]


def test_the_draws_are_those_of_the_library(answered, file):
    from thalweg.sampling import sample_chains

    done, out = answered
    options = chosen(json.loads((out / "run.json").read_text())["options"])
    made = chains.prepared(options)
    same = sample_chains(
        made.target, made.kernel, made.x0, draws=200, warmup=100, key=made.key, max_rhat=1.05, throw=False
    )
    with np.load(out / "draws.npz") as found:
        np.testing.assert_allclose(found["x"].reshape(4, 200, 2), same.x, rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(found["chain"], np.repeat(np.arange(4), 200))
        assert found["log_prob"].shape == (800,)
        np.testing.assert_allclose(found["x"].mean(0), done.json["mean"], rtol=1e-4)
    assert set(json.loads((out / "history.json").read_text())) == {"accept", "log_prob", "step_size"}


def test_interrupted_twice_it_resumes_to_the_same_bits(answered, thalweg, file, monkeypatch):
    """Once in the warm-up and once among the draws."""
    _, whole = answered
    out = file.parent / "killed"

    @contextlib.contextmanager
    def interrupting(label, **how):
        def show(step, steps, seconds, last):
            assert last["accept"] > 0
            if step == (60 if "warm-up" in label else 80):
                raise KeyboardInterrupt

        yield show

    monkeypatch.setattr(core, "progress_bar", interrupting)
    done = thalweg("sample-density", f"{file}:log_prob", *WORDS, *LOOSE, "--out", out)
    assert done.status == 130
    assert "stopped at step 60, state saved" in done.err
    again = thalweg("sample-density", "--resume", out, "--json")
    assert again.status == 130
    assert "stopped at step 180" in again.json["error"]
    assert again.json["resume"] == f"thalweg sample-density --resume {out}"
    monkeypatch.undo()
    assert thalweg("sample-density", "--resume", out, "--quiet").status == 0
    with np.load(whole / "draws.npz") as a, np.load(out / "draws.npz") as b:
        assert list(a) == list(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    assert (whole / "history.json").read_bytes() == (out / "history.json").read_bytes()


def test_chains_that_have_not_met_are_refused_with_the_reason(refused):
    done, out = refused
    assert done.status == 1
    assert "REFUSED" in done.out
    assert "R-hat" in done.out
    assert "anneal from a wider base" in done.out
    assert "±" not in done.out
    found = json.loads((out / "run.json").read_text())["evidence"]
    assert not found["trusted"]
    assert max(found["rhat"]) > 1.5
    assert found["mean_stderr"] is None
    assert found["std_stderr"] is None


def test_words_for_people(capsys, answered):
    chains.show(answered[0].json)
    said = capsys.readouterr().out
    assert "4 chains of 200 draws: R-hat up to 1.0" in said
    assert "x[1]  mean" in said
    assert said.count("±") == 4
    assert "no log Z" in said


def test_starts_are_inside_the_support(file):
    options = chosen({"density": f"{file}:half", "dim": "2", "method": "chains"})
    assert (np.asarray(chains.prepared(options).x0)[:, 0] > 2.0).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--particles", "100"], "--particles is for --method smc; this is --method chains"),
        (["--level", "0.5"], "--level is for the interval of log Z"),
        (["--chains", "1"], "R-hat is a comparison of chains"),
        (["--draws", "3"], "--draws is 3; expected at least 4"),
        (["--warmup", "5"], "expected at least 20 steps, or 0 for none"),
        (["--thin", "0"], "--thin is 0"),
        (["--max-rhat", "1"], "--max-rhat is 1; expected a number above 1"),
        (["--leaps", "0"], "--leaps is 0"),
        (["--leaps", "4", "--kernel", "mala"], "--leaps is for --kernel hmc"),
        (["--kernel", "ula"], "unknown kernel 'ula'"),
        (["--dim", "3"], "failed at a point of shape"),
        (["{half}", "--base-mean", "-50"], "--base-mean and --base-std"),
        (["{torn}"], "nan at a starting point"),
    ],
)
def test_bad_input(words, message, bad, file):
    name = words[0].strip("{}") if words[0].startswith("{") else "log_prob"
    given = words[1:] if words[0].startswith("{") else words
    given = given if "--dim" in given else ["--dim", "2", *given]
    out = file.parent / "bad"
    assert message in bad("sample-density", f"{file}:{name}", "--method", "chains", *given, "--out", out)
    assert not out.exists()


def test_level_is_refused_on_resuming_as_well(answered, bad):
    assert "--level is for the interval" in bad("sample-density", "--resume", answered[1], "--level", "0.5")


def test_reports_of_both(answered, refused, thalweg, bad):
    done, out = answered
    shown = thalweg("report", out, "--json")
    assert shown.status == 0, shown.err
    assert shown.json == done.json
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "4 chains have met" in page
    assert "--method chains" in page
    assert "hmc, 4 leaps" in page
    assert page.count("<svg") == 4
    assert thalweg("report", refused[1]).status == 0
    page = (refused[1] / "report.html").read_text(encoding="utf-8")
    assert "draws refused" in page
    assert "✗ apart" in page
    (refused[1] / "draws.npz").write_bytes(b"no archive")
    assert "missing or damaged" in bad("report", refused[1])
