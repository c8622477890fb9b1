"""A log density in a file: shapes, functions that are not there, and what a run remembers."""

import hashlib

import pytest

from thalweg.cli.target import DensityOptions, digest, load_function, option, parse_shape
from thalweg.core.errors import InputError


@pytest.mark.parametrize(("text", "shape"), [("5", (5,)), ("4,3", (4, 3))])
def test_shapes(text, shape):
    assert parse_shape(text) == shape


@pytest.mark.parametrize("text", ["", "0", "4,", "two", "3,-1"])
def test_what_is_no_shape(text):
    with pytest.raises(InputError, match="--dim is"):
        parse_shape(text)


def test_functions_by_name(tmp_path):
    file = tmp_path / "target.py"
    file.write_text("def f(x):\n    return -x @ x\n\nnumber = 3\n")
    assert load_function(f"{file}:f").__name__ == "f"
    with pytest.raises(InputError, match="has no function number; it has f"):
        load_function(f"{file}:number")
    file.write_text("1 / 0\n")
    with pytest.raises(InputError, match="failed as it was run: ZeroDivisionError"):
        load_function(f"{file}:f")
    with pytest.raises(InputError, match="is no Python file"):
        load_function(f"{_text(tmp_path)}:f")
    assert digest(f"{file}:f") == hashlib.sha256(file.read_bytes()).hexdigest()


def _text(folder):
    path = folder / "target.txt"
    path.write_text("f")
    return path


def test_what_a_run_remembers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = DensityOptions("target.py:f", "2", seed=7)
    assert options.record()["density"] == f"{tmp_path / 'target.py'}:f"
    assert options.record()["seed"] == 7
    assert option("base_std") == "--base-std"
    with pytest.raises(InputError, match="--seed is 7; expected at least 8"):
        options.at_least(seed=8)
