"""`thalweg sample-density`: the answer, the refusal, files, resuming to the same bits, and bad input."""

import json

import numpy as np
import pytest

FILE = """
import jax.numpy as jnp

def log_prob(x):
    return -0.5 * jnp.sum((x - 1.0) ** 2 / jnp.asarray([0.25, 4.0])) + 3.0

def broken(x):
    return jnp.log(x[0] - 0.5) - jnp.sum(x**2)

def vector(x):
    return -x

def torn(x):
    return jnp.where(x[0] > 2.0, jnp.nan, -jnp.sum(x**2))

def narrow(x):
    return -0.5 * jnp.sum((x - 40.0) ** 2) / 1e-6

number = 3
"""
EXACT = 3 + np.log(2 * np.pi) + np.log(0.5 * 2.0)
WORDS = ["--dim", "2", "--particles", "200", "--replicates", "3", "--quiet"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("density") / "target.py"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def answered(thalweg, file):
    out = file.parent / "run"
    return thalweg("sample-density", f"{file}:log_prob", *WORDS, "--out", out, "--json"), out


def test_log_z_with_its_interval(answered):
    done, out = answered
    assert (done.status, done.err) == (0, "")
    found = done.json
    assert found["trusted"]
    assert abs(found["log_z"] - EXACT) < 4.5 * found["log_z_stderr"]
    assert found["interval"][0] < found["log_z"] < found["interval"][1]
    assert found["gradients"] == found["rungs"] * 600 * 9
    assert json.loads((out / "run.json").read_text())["evidence"]["khat"] == pytest.approx(found["khat"])


def test_draws_and_their_weights(answered):
    done, out = answered
    with np.load(out / "draws.npz") as found:
        assert found["x"].shape == (600, 2)
        w = np.exp(found["log_w"])
        assert w.sum() == pytest.approx(1.0)
        np.testing.assert_allclose(w @ found["x"], done.json["mean"], rtol=1e-4)
        assert set(found["replicate"]) == {0, 1, 2}
        assert np.isfinite(found["log_prob"]).all()
    # Means of some three hundred effective draws of standard deviations 0.5 and 2.
    assert abs(done.json["mean"][0] - 1) < 0.15
    assert abs(done.json["mean"][1] - 1) < 0.6


def test_words_for_people(thalweg, file):
    words = [*WORDS[:-1], "--quiet", "--kernel", "random-walk", "--moves", "3", "--level", "0.99"]
    done = thalweg("sample-density", f"{file}:log_prob", *words, "--out", file.parent / "people")
    assert done.status == 0, done.err
    assert "99 % interval" in done.out
    assert "draws.npz" in done.out


def test_a_killed_run_resumes_to_the_same_bits(answered, thalweg, file, monkeypatch):
    _, whole = answered
    out = file.parent / "killed"
    from thalweg import core

    calls = []

    def interrupting(label, **how):
        import contextlib

        @contextlib.contextmanager
        def bar():
            def show(step, steps, seconds, last):
                calls.append(step)
                if step == 3:
                    raise KeyboardInterrupt

            yield show

        return bar()

    monkeypatch.setattr(core, "progress_bar", interrupting)
    done = thalweg("sample-density", f"{file}:log_prob", *WORDS, "--out", out)
    monkeypatch.undo()
    assert done.status == 130
    assert f"thalweg sample-density --resume {out}" in done.err
    assert thalweg("sample-density", "--resume", out, "--quiet").status == 0
    with np.load(whole / "draws.npz") as a, np.load(out / "draws.npz") as b:
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_a_refusal_is_status_one_and_says_why(thalweg, file):
    words = ["--dim", "3", "--particles", "20", "--replicates", "2", "--share", "0.05", "--moves", "1", "--quiet"]
    done = thalweg("sample-density", f"{file}:narrow", *words, "--out", file.parent / "narrow")
    assert done.status == 1
    assert "REFUSED" in done.out


def test_what_another_command_made_is_refused(answered, bad):
    _, out = answered
    assert "made by `thalweg sample-density`" in bad("sample", out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nofile.py:f", "--dim", "2"], "there is no file nofile.py"),
        (["{file}", "--dim", "2"], "expected FILE.py:FUNCTION"),
        (["{file}:number", "--dim", "2"], "has no function number"),
        (["{file}:vector", "--dim", "2"], "expected a single"),
        (["{file}:broken", "--dim", "2"], "nan at a starting point"),
        (["{file}:log_prob", "--dim", "two"], "--dim is 'two'"),
        (["{file}:log_prob", "--dim", "3"], "failed at a point of shape"),
        (["{file}:log_prob"], "needs --dim"),
        (["{file}:log_prob", "--dim", "2", "--particles", "0"], "--particles is 0"),
        (["{file}:log_prob", "--dim", "2", "--replicates", "0"], "--replicates is 0"),
        (["{file}:log_prob", "--dim", "2", "--kernel", "hcm"], "did you mean"),
        (["{file}:log_prob", "--dim", "2", "--step", "0"], "--step is 0"),
        (["{file}:log_prob", "--dim", "2", "--share", "1"], "between 0 and 1"),
        (["{file}:log_prob", "--dim", "2", "--level", "1"], "--level is 1"),
        (["{file}:log_prob", "--dim", "2", "--method", "mcmc"], "unknown method 'mcmc'"),
        (["{file}:log_prob", "--dim", "2", "--draws", "10"], "--draws is for --method chains; this is --method smc"),
        (["--resume", "{file}"], "there is no run directory"),
        (["{file}:log_prob", "--resume", "x"], "takes its options from the run"),
    ],
)
def test_bad_input(words, message, bad, file):
    words = [w.replace("{file}", str(file)) for w in words]
    assert message in bad("sample-density", *words, *([] if "--resume" in words else ["--out", file.parent / "bad"]))


def test_a_report_of_the_run(answered, thalweg, bad):
    done, out = answered
    shown = thalweg("report", out, "--json")
    assert shown.status == 0, shown.err
    assert shown.json["log_z"] == done.json["log_z"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"log Z = {done.json['log_z']:.4f}" in page
    assert page.count("<svg") == 5
    assert "--particles 200" in page
    assert "--sde is for the page of a transport" in bad("report", out, "--sde", "0.1")


def test_a_report_of_a_run_without_an_answer(answered, bad, tmp_path):
    import shutil

    _, out = answered
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    (copy / "draws.npz").write_bytes(b"no archive")
    assert "missing or damaged" in bad("report", copy)
    record = json.loads((copy / "run.json").read_text())
    del record["evidence"]
    (copy / "run.json").write_text(json.dumps(record))
    assert "has no answer yet" in bad("report", copy)


def test_a_file_that_has_changed_is_not_resumed(thalweg, bad, tmp_path):
    file = tmp_path / "target.py"
    file.write_text(FILE)
    assert thalweg("sample-density", f"{file}:log_prob", *WORDS, "--out", tmp_path / "run").status == 0
    file.write_text(FILE.replace("4.0", "9.0"))
    assert "has changed since the run began" in bad("sample-density", "--resume", tmp_path / "run")
    file.unlink()
    assert "there is no file" in bad("sample-density", "--resume", tmp_path / "run")


def test_a_region_without_numbers_is_named(thalweg, file):
    done = thalweg("sample-density", f"{file}:torn", *WORDS, "--out", file.parent / "torn")
    assert done.status == 1
    assert "the log density is nan at x = [" in done.err
    assert len(done.err.splitlines()) == 1
