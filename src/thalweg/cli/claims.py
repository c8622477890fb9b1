"""`thalweg reproduce`: which reproductions are meant, running them, and keeping what they found."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.errors import InputError, choose


def chosen(names: list[str]) -> list[str]:
    """The reproductions that were named; all of them for `all`.

    Raises:
        InputError: for none, or an unknown one (with the nearest).
    """
    from ..reproduce import REPRODUCTIONS

    if not names:
        raise InputError(f"reproduce needs a name; known: {', '.join(sorted(REPRODUCTIONS)) or 'none yet'}, or `all`")
    if "all" in names:
        return list(REPRODUCTIONS)
    return [choose("reproduction", name, [*REPRODUCTIONS]) for name in names]


def run(names: list[str], *, short: bool, out: Path | None) -> Iterator[Any]:
    """Run reproductions one after the other, and write each to `out` as it ends."""
    from ..core.io import write_atomic
    from ..reproduce import REPRODUCTIONS
    from .rundir import dumps

    for name in names:
        made = REPRODUCTIONS[name](short)
        if out is not None:
            try:
                out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"could not make {out}: {error.strerror}") from error
            write_atomic(out / f"{name}.json", dumps(made.as_dict(), indent=1) + "\n")
        yield made
