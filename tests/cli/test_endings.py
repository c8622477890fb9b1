"""Exit status of errors, and what an interruption says."""

import json
from pathlib import Path

import pytest
import typer

from thalweg.cli.endings import Resumable, exit_status
from thalweg.core import InputError, Interrupted, StatusError


def test_each_error_has_its_status():
    assert exit_status(InputError("bad")) == 2
    assert exit_status(StatusError("failed")) == 1
    assert exit_status(ValueError("a mistake of ours")) is None


def test_an_interruption_says_how_to_go_on(capsys):
    with pytest.raises(typer.Exit) as ended, Resumable(Path("runs/a"), True, "sample-density"):
        raise Interrupted(7, Path("runs/a"))
    assert ended.value.exit_code == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["resume"] == "thalweg sample-density --resume runs/a"
    assert "stopped at step 7" in err
