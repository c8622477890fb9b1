"""Tiny data and runs that the command-line tests share."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from thalweg.cli import main

# Small enough to train in a second.
TINY = ["--width", "8", "--depth", "1", "--steps", "20", "--chunk", "10", "--batch", "16", "--quiet"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


# A suite that was started in the background hands down an ignored SIGINT; the process under test is to hear it.
START = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('thalweg', run_name='__main__', alter_sys=True)"
)


@pytest.fixture(scope="session")
def thalweg():
    """Run the command line in this process: `thalweg("sample", run, "--n", 5)`."""

    def call(*words) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([str(w) for w in words])
        return Done(status, out.getvalue(), err.getvalue())

    return call


@pytest.fixture(scope="session")
def bad(thalweg):
    """Run a command that must fail as bad input does: status 2, one line on stderr, nothing on stdout."""

    def call(*words) -> str:
        done = thalweg(*words)
        assert done.status == 2, (words, done)
        assert done.out == ""
        lines = done.err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("thalweg: error: ")
        return lines[0]

    return call


@pytest.fixture(scope="session")
def process():
    """Start the command line as a process of its own."""

    def start(*words, **how) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-c", START, *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
        return subprocess.Popen(command, **{**pipes, **how})

    return start


@pytest.fixture(scope="session")
def cells(tmp_path_factory):
    """A table of two groups away from the origin, of unequal size and spread, with a label and a number."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("data") / "cells.csv"
    kind = rng.choice(["left", "right"], 90, p=[0.4, 0.6])
    x = rng.normal(size=(90, 2)) * [1.0, 0.4] + np.where(kind == "left", -3.0, 5.0)[:, None]
    rows = [f"{a:.5f},{b:.5f},{k},{7 * a:.5f}" for (a, b), k in zip(x, kind, strict=True)]
    path.write_text("\n".join(["x,y,kind,dose", *rows]) + "\n")
    return path


@pytest.fixture(scope="session")
def run(thalweg, cells, tmp_path_factory):
    """A finished, conditional run."""
    path = tmp_path_factory.mktemp("runs") / "cells"
    words = ["--target", cells, "--columns", "x,y", "--condition", "kind", "--drop", "0.2", "--out", path, *TINY]
    done = thalweg("fit", *words)
    assert done.status == 0, done
    return path


@pytest.fixture
def work(run, tmp_path):
    """A copy of the run that a test may damage."""
    import shutil

    return shutil.copytree(run, tmp_path / "run")
