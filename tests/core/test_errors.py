"""What a mistake looks like."""

import pytest

from thalweg.core import CheckpointError, InputError, StatusError, choose


def test_choose_returns_what_is_known():
    assert choose("path", "linear", ["linear", "mirror"]) == "linear"


def test_choose_names_what_is_near():
    with pytest.raises(InputError, match=r"unknown path 'liner'; did you mean 'linear'\?"):
        choose("path", "liner", ["linear", "mirror"])


def test_choose_lists_all_when_nothing_is_near():
    with pytest.raises(InputError, match=r"known: linear, mirror"):
        choose("path", "zzz", ["mirror", "linear"])


def test_the_tree_of_errors():
    assert issubclass(CheckpointError, InputError)
    assert issubclass(InputError, ValueError)
    assert StatusError("text", 3).result == 3
