"""What a reproduction leaves behind: claims of a paper, what was found here, and whether they hold.

Answers    the table *claim, paper, here, baseline here, holds*, for people and for machines
"""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    `paper` says what the paper has, `here` what was computed, `baseline` what the paper's baseline gave here; `holds`
    is None for what cannot be tested at this size.
    """

    claim: str
    paper: str
    here: str
    baseline: str
    holds: bool | None


@dataclass(frozen=True)
class Reproduction:
    """The claims of one paper, recomputed."""

    name: str
    seconds: float
    claims: tuple[Claim, ...]

    @property
    def holds(self) -> bool:
        """Whether every claim that could be tested holds."""
        return all(c.holds is not False for c in self.claims)

    def as_dict(self) -> dict[str, Any]:
        """Plain text and numbers, as in `reproductions/<name>.json`."""
        return {"name": self.name, "seconds": round(self.seconds, 1), "claims": [asdict(c) for c in self.claims]}

    def __str__(self):
        return f"{self.name} ({self.seconds:.0f} s)\n{table(self.claims)}"


class Stopwatch:
    """Collects claims and the time they took: `clock = Stopwatch()`, ..., `clock.done("name", claims)`."""

    def __init__(self):
        self._began = time.monotonic()

    def done(self, name: str, claims: Iterable[Claim]) -> Reproduction:
        """The reproduction, with the seconds since the start."""
        return Reproduction(name, time.monotonic() - self._began, tuple(claims))


def table(claims: Iterable[Claim]) -> str:
    """The claims as aligned text."""
    marks = {True: "yes", False: "NO", None: "not tested at this size"}
    rows = [("claim", "paper", "here", "baseline here", "holds")]
    rows += [(c.claim, c.paper, c.here, c.baseline, marks[c.holds]) for c in claims]
    widths = [max(len(r[i]) for r in rows) for i in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(r, widths, strict=True)).rstrip() for r in rows)


def mean(values) -> str:
    """With its standard error."""
    values = np.asarray(values, float)
    return f"{values.mean():.1f} ± {values.std(ddof=1) / np.sqrt(len(values)):.1f}"


def rate(hits, tries: int) -> str:
    """A share with its standard error, of one more success and failure than there were (so that it is never 0)."""
    p = (hits + 1) / (tries + 2)
    return f"{hits} of {tries} ({hits / tries:.0%} ± {np.sqrt(p * (1 - p) / (tries + 3)):.0%})"
