"""A run directory is written whole, recognised, and refused by name when it is not one."""

import json

import pytest

from thalweg.cli.rundir import RunDir, dumps
from thalweg.core.errors import CheckpointError, InputError


def test_made_opened_and_not_made_twice(tmp_path):
    run = RunDir.create(tmp_path / "a", {"options": {"steps": 3}}, overwrite=False)
    run.update(status="finished")
    again = RunDir.open(tmp_path / "a")
    assert (again.options, again.record["status"]) == ({"steps": 3}, "finished")
    with pytest.raises(InputError, match="--overwrite"):
        RunDir.create(tmp_path / "a", {}, overwrite=False)
    (tmp_path / "a" / "samples-ode.npy").touch()
    RunDir.create(tmp_path / "a", {}, overwrite=True)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["run.json"]


def test_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is not a run"):
        RunDir.create(tmp_path, {}, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("record", "words"),
    [("{", "damaged"), ("[]", "damaged"), (json.dumps({"kind": "thalweg run", "format": 99}), "format 99")],
)
def test_records_that_cannot_be_read(record, words, tmp_path):
    (tmp_path / "run.json").write_text(record)
    with pytest.raises(CheckpointError, match=words):
        RunDir.open(tmp_path)


def test_leftovers_of_a_killed_write_are_swept(tmp_path):
    run = RunDir.create(tmp_path / "a", {}, overwrite=False)
    (run.checkpoints / ".step-00000010.77.tmp").mkdir(parents=True)
    assert not run.can_resume()
    assert not list(run.checkpoints.iterdir())


def test_numbers_that_are_not_finite_are_null():
    assert json.loads(dumps({"a": [1.5, float("nan")], "b": (float("-inf"),)})) == {"a": [1.5, None], "b": [None]}
