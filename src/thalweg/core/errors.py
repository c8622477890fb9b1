"""What a user sees when something is wrong: one line with what was got, what was expected, what to do.

`InputError` is a mistake in what was handed in (exit status 2 at the command line); `StatusError` is a run that
ended badly and carries its `Result`. Nothing else in the library is raised on purpose.
"""

import difflib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Bad input: what was got, what was expected, what to do."""


class CheckpointError(InputError):
    """A checkpoint or saved model that is missing, damaged, or written by something else."""


class StatusError(RuntimeError):
    """A run ended with a failing status. `result` holds everything that was computed until then."""

    def __init__(self, message: str, result: Any = None):
        super().__init__(message)
        self.result = result


def choose(kind: str, name: str, options: Iterable[str]) -> str:
    """Return `name` if it is one of `options`.

    Raises:
        InputError: naming the nearest options, as for `unknown path 'liner'`.
    """
    known = sorted(options)
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"known: {', '.join(known)}"
    raise InputError(f"unknown {kind} {name!r}; {hint}")
