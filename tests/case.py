"""What a row of `tests/cases.py` holds."""

from collections.abc import Callable
from dataclasses import dataclass

from thalweg.core import AbstractMethod


@dataclass(frozen=True)
class Case:
    """A method and a problem; `poison` turns the problem into one with a NaN in it, `grad` whether derivatives pass."""

    name: str
    method: Callable[[], AbstractMethod]
    problem: Callable[[], object]
    poison: Callable[[object], object]
    grad: bool = True
