"""Training from the command line: what it leaves behind, and that killing it changes nothing."""

import json
import signal
import subprocess
import time

import numpy as np
import pytest

from thalweg.cli.fit import FitOptions, make_path
from thalweg.core import InputError, io
from thalweg.flows import DiffusionPath, Linear, Mirror, OneSided, Trigonometric

from .conftest import TINY


def test_what_a_run_leaves_behind(run):
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["data"]["target"]["rows"] == 90
    assert len(record["data"]["target"]["sha256"]) == 64
    assert (record["columns"], record["labels"]) == (["x", "y"], ["left", "right"])
    assert record["split"]["train"] + record["split"]["held"] == 90
    history = json.loads((run / "history.json").read_text())
    assert len(history["loss"]) == len(history["grad_norm"]) == 20
    assert (run / "model").is_dir()


def test_json(thalweg, tmp_path):
    done = thalweg("fit", "--target", "two-moons:40", "--out", tmp_path / "a", "--json", *TINY)
    assert (done.status, done.err) == (0, "")
    assert done.json.keys() == {"run", "status", "steps", "seconds", "loss", "train", "held_out"}
    assert (done.json["train"], done.json["held_out"]) == (32, 8)


@pytest.mark.parametrize(
    "words",
    [
        ["--source", "eight-gaussians:30", "--coupling", "ot"],
        ["--source", "two-moons:40", "--coupling", "paired", "--gamma", "none"],
        ["--path", "mirror"],
        ["--path", "vp", "--devices", "2"],
        ["--condition", "label", "--coupling", "within-condition"],
    ],
    ids=lambda w: w[1],
)
def test_the_choices_train(words, thalweg, tmp_path):
    done = thalweg("fit", "--target", "two-moons:40", "--out", tmp_path / "a", *words, *TINY)
    assert done.status == 0, done.err
    assert "next: thalweg report" in done.out


def test_paths_by_name():
    def path(**options):
        return make_path(FitOptions("a", **options))

    assert isinstance(path(), OneSided)
    assert isinstance(path(source="b"), Linear)
    assert isinstance(path(path="trigonometric", gamma="quadratic"), Trigonometric)
    assert isinstance(path(path="mirror"), Mirror)
    assert isinstance(path(path="ve"), DiffusionPath)
    for options in (
        {"path": "vp", "source": "b"},
        {"path": "ve", "gamma": "brownian"},
        {"path": "encoding-decoding", "gamma": "none"},
    ):
        with pytest.raises(InputError, match="drop --"):
            path(**options)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--target", "nowhere.csv"], "there is no file nowhere.csv"),
        (["--target", "digit"], "did you mean 'digits'"),
        (["--path", "liner"], "unknown path 'liner'; did you mean 'linear'"),
        (["--coupling", "to"], "unknown coupling 'to'"),
        (["--gamma", "brown"], "did you mean 'brownian'"),
        (["--net", "mpl"], "did you mean 'mlp'"),
        (["--condition", "lable"], "did you mean 'label'"),
        (["--steps", "0"], "--steps is 0"),
        (["--lr", "-1"], "--lr is -1"),
        (["--held-out", "0"], "--held-out is 0"),
        (["--source", "digits"], "source and target differ"),
        (["--drop", "0.5"], "--drop leaves out conditions"),
        (["--coupling", "paired"], "needs a source"),
        (["--layer", "raw"], "belong to files"),
        (["--devices", "3"], "cannot be divided over 3 devices"),
        (["--steps", "many"], "Invalid value for '--steps'"),
    ],
    ids=lambda w: " ".join(w) if isinstance(w, list) else "",
)
def test_bad_input_writes_nothing(words, expected, bad, tmp_path):
    given = TINY if "--steps" not in words else [*TINY[:4], *TINY[6:]]
    target = [] if "--target" in words else ["--target", "two-moons:40"]
    assert expected in bad("fit", *target, "--out", tmp_path / "a", *given, *words)
    assert not list(tmp_path.iterdir())


def test_a_run_is_not_replaced_by_accident(bad, work, thalweg):
    words = ["fit", "--target", "two-moons:40", "--out", work, *TINY]
    assert "holds a run already" in bad(*words)
    assert thalweg(*words, "--overwrite").status == 0


def test_resume_takes_its_options_from_the_run(bad, work, run, thalweg):
    assert "drop --lr" in bad("fit", "--resume", work, "--lr", "1e-3")
    assert "fit needs --target" in bad("fit", "--out", work)
    assert "there is no run directory" in bad("fit", "--resume", work / "no")
    # A finished run is finished again, with the same numbers.
    assert thalweg("fit", "--resume", work, "--quiet").status == 0
    assert digests(work) == digests(run)


def test_data_that_changed_is_noticed(bad, tmp_path, cells, thalweg):
    copy = tmp_path / "cells.csv"
    copy.write_text(cells.read_text())
    words = ["--target", copy, "--columns", "x,y", "--out", tmp_path / "a"]
    assert thalweg("fit", *words, *TINY).status == 0
    copy.write_text(cells.read_text().replace("left", "right", 1) + "1,2,left,3\n")
    assert "has changed since" in bad("fit", "--resume", tmp_path / "a")
    assert "has changed since" in bad("report", tmp_path / "a")


@pytest.mark.parametrize("damage", ["truncated", "missing", "version"])
def test_damaged_checkpoints(damage, bad, work):
    newest = sorted((work / "checkpoints").iterdir())[-1]
    spoil(newest, damage)
    expected = {"truncated": "damaged or truncated", "missing": "incomplete", "version": "format 99"}[damage]
    assert expected in bad("fit", "--resume", work)


def spoil(saved, damage):
    """Damage a saved directory in one of three ways."""
    arrays, manifest = saved / "arrays.safetensors", saved / "manifest.json"
    if damage == "truncated":
        arrays.write_bytes(arrays.read_bytes()[:-10])
    elif damage == "missing":
        arrays.unlink()
    else:
        manifest.write_text(manifest.read_text().replace(f'"format": {io.FORMAT}', '"format": 99'))


def digests(run):
    """What identifies the learned numbers: the digest of the model's arrays, and the history."""
    manifest = json.loads((run / "model" / "manifest.json").read_text())
    return manifest["sha256"], (run / "history.json").read_text()


LONG = [
    "--target",
    "two-moons:200",
    "--width",
    "16",
    "--depth",
    "1",
    "--batch",
    "16",
    "--chunk",
    "20",
    "--save-every",
    "0",
]


@pytest.fixture(scope="module")
def stopped(process, thalweg, tmp_path_factory):
    """One run to the end, one killed, one interrupted, all with the same options."""
    folder = tmp_path_factory.mktemp("stopped")
    steps = ["--steps", "2500"]
    # All three are processes, so that no difference of environment hides behind an equal result.
    finish(process("fit", *LONG, *steps, "--out", folder / "whole", "--quiet"))
    outcomes = {}
    for name, how in (("killed", signal.SIGKILL), ("interrupted", signal.SIGINT)):
        child = process("fit", *LONG, *steps, "--out", folder / name, "--json")
        wait_for_checkpoint(folder / name, child)
        child.send_signal(how)
        out, err = child.communicate(timeout=60)
        outcomes[name] = (child.returncode, out, err)
    return folder, outcomes


def finish(child):
    _, err = child.communicate(timeout=300)
    assert child.returncode == 0, err


def wait_for_checkpoint(run, child):
    limit = time.monotonic() + 120
    while not list(run.glob("checkpoints/step-*")):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_kill_and_resume_gives_the_same_bits(stopped, process):
    folder, outcomes = stopped
    assert outcomes["killed"][0] == -signal.SIGKILL
    assert json.loads((folder / "killed" / "run.json").read_text())["status"] == "running"
    assert not (folder / "killed" / "model").exists()
    finish(process("fit", "--resume", folder / "killed", "--quiet"))
    assert digests(folder / "killed") == digests(folder / "whole")


def test_interrupting_saves_and_says_how_to_go_on(stopped, process, bad):
    folder, outcomes = stopped
    run = folder / "interrupted"
    status, out, err = outcomes["interrupted"]
    assert status == 130
    line = f"thalweg fit --resume {run}"
    assert line in " ".join(err.split())
    assert json.loads(out)["resume"] == line
    assert "interrupted at step" in json.loads((run / "run.json").read_text())["status"]
    assert "has no model yet" in bad("sample", run)
    finish(process("fit", "--resume", run, "--quiet"))
    assert digests(run) == digests(folder / "whole")


def test_a_loss_that_is_not_finite(thalweg, tmp_path):
    done = thalweg("fit", "--target", "two-moons:40", "--out", tmp_path / "a", *TINY, "--lr", "1e30", "--clip", "0")
    assert done.status == 1
    assert "training stopped at step" in done.err
    assert done.err.count("\n") == 1
    assert "failed" in json.loads((tmp_path / "a" / "run.json").read_text())["status"]


def test_a_full_disk(bad, thalweg, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(io, "_write_file", full)
        words = ["fit", "--target", "two-moons:40", "--out", tmp_path / "a", *TINY]
        assert "No space left on device" in bad(*words)
    assert not list(tmp_path.iterdir())
    assert thalweg(*words).status == 0
    with monkeypatch.context() as patch:
        patch.setattr(io, "_write_file", full)
        assert "nothing was left half-written" in bad("sample", tmp_path / "a", "--n", "5")
    assert not list((tmp_path / "a").glob("*samples*"))


def test_a_disk_that_fills_while_training(process, tmp_path):
    """On a real small disk: training stops with one line, and no half-written checkpoint is left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        child = process(
            "fit", "--target", "two-moons:40", "--width", "128", "--steps", "40", "--out", disk / "a", "--quiet"
        )
        out, err = child.communicate(timeout=200)
        assert (child.returncode, out) == (2, "")
        assert err.startswith("thalweg: error: could not write")
        assert err.count("\n") == 1
        assert not list(disk.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_histories_are_numbers(run):
    history = json.loads((run / "history.json").read_text())
    assert np.isfinite(history["loss"]).all()
