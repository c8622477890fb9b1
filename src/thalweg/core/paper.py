"""Where a method comes from. `PAPERS.md` and `thalweg papers` are made from these marks.

A method's class carries `paper: ClassVar[Paper]`; a file of plain functions carries a module-level `paper`.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Maturity = Literal["reproduced", "checked", "sketch"]


@dataclass(frozen=True, order=True)
class Paper:
    """A published source.

    `name` is the slug that `thalweg reproduce` takes, `eqs` the equations implemented, `maturity` how far it is
    trusted: `reproduced` (a number of the paper was recomputed), `checked` (against closed forms or a peer), `sketch`.
    """

    name: str
    title: str
    arxiv: str
    year: int
    eqs: str = ""
    maturity: Maturity = "checked"


def implemented() -> dict[Paper, list[str]]:
    """Every paper that a public module of the library names, with its files relative to `src/`."""
    root = importlib.import_module("thalweg")
    found: dict[Paper, set[str]] = {}
    for info in pkgutil.walk_packages(root.__path__, "thalweg."):
        if info.name.split(".")[1] in {"cli", "report", "reproduce"} or info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        marks = [getattr(module, "paper", None)]
        marks += [getattr(c, "paper", None) for c in vars(module).values() if getattr(c, "__module__", "") == info.name]
        if isinstance(extra := getattr(module, "papers", None), tuple):
            marks += extra
        file = Path(module.__file__ or "").relative_to(Path(root.__path__[0]).parent).as_posix()
        for mark in marks:
            if isinstance(mark, Paper):
                found.setdefault(mark, set()).add(file)
    return {paper: sorted(files) for paper, files in sorted(found.items())}
