"""The front of the command line: help, version, errors, and how quickly it answers."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

COMMANDS = ("fit", "sample", "report", "compare", "papers", "reproduce")


def test_help_and_version(thalweg):
    assert thalweg("--version").out == f"thalweg {version('thalweg')}\n"
    for words in ([], ["--help"]):
        done = thalweg(*words)
        assert done.status == 0
        assert all(name in done.out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(command, thalweg):
    done = thalweg(command, "--help")
    assert done.status == 0
    assert "--json" in done.out


def test_help_does_not_wait_for_jax():
    code = "import sys; from thalweg.cli import main; main(['fit', '--help']); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("words", [["fti"], ["fit", "--tagret", "a"], ["sample"], ["sample", "a", "--n", "x"]])
def test_unknown_words(words, bad):
    bad(*words)


def test_errors_for_machines(thalweg, tmp_path):
    done = thalweg("sample", tmp_path / "no", "--json")
    assert done.status == 2
    assert "there is no run directory" in json.loads(done.out)["error"]
    assert done.err.count("\n") == 1


def test_as_a_process(process, tmp_path):
    child = process("sample", tmp_path / "no")
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (2, "")
    assert err.startswith("thalweg: error: there is no run directory")
