"""Do the papers' claims hold, recomputed here at the smallest honest size?

    thalweg reproduce NAME        # one of REPRODUCTIONS, or `all`

A reproduction is a function of `short` (the size for continuous integration) that returns a `Reproduction`: a table
*claim, paper, here, baseline here, holds*. Nothing in it is typed in; what cannot be tested at this size says so. A
module adds its own: a line in `REPRODUCTIONS`, under the name of its `Paper`.

| answers | name | file |
|---|---|---|
| claims and their table | `Claim`, `Reproduction`, `Stopwatch`, `table` | `claims.py` |
"""

from collections.abc import Callable as _Callable

from .claims import Claim, Reproduction, Stopwatch, table

REPRODUCTIONS: dict[str, _Callable[[bool], Reproduction]] = {}

__all__ = ["REPRODUCTIONS", "Claim", "Reproduction", "Stopwatch", "table"]
