"""How a command ends: its exit status, what an interruption leaves to be said, and JSON for machines.

Status     0 done; 1 a run or a claim that failed; 2 bad input, one line on standard error; 130 Ctrl-C
"""

import sys
from pathlib import Path
from typing import Any

import typer


def exit_status(error: Exception) -> int | None:
    """The exit status of an expected error; None for one that is a mistake of ours."""
    from ..core.errors import InputError, StatusError

    if isinstance(error, InputError):
        return 2
    if isinstance(error, StatusError):
        return 1
    return error.exit_code if hasattr(error, "format_message") else None  # type: ignore


class Resumable:
    """Turns an interruption into the line that goes on, and exit status 130."""

    def __init__(self, path: Path, json: bool, command: str = "fit"):
        self.path, self.json, self.command = path, json, command

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        from ..core import Interrupted

        if not isinstance(error, Interrupted):
            return
        line = f"thalweg {self.command} --resume {self.path}"
        print(f"stopped at step {error.step}, state saved; go on with: {line}", file=sys.stderr)
        if self.json:
            print_json({"error": f"stopped at step {error.step}", "resume": line})
        raise typer.Exit(130)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    from .rundir import dumps

    print(dumps(value, indent=1))
