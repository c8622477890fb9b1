"""`thalweg compare`: distances between any two things that hold points."""

from pathlib import Path
from typing import Any

from ..core.errors import InputError
from .data import load_data
from .files import Want


def between(
    a: str,
    b: str,
    *,
    columns: tuple[str, ...] | None = None,
    permutations: int = 200,
    most: int = 1000,
    features: bool = False,
    seed: int = 0,
    plot: Path | None = None,
) -> list[Any]:
    """All distances between two samples (`thalweg.ot.Distance`), and a picture of both when asked for.

    `features` adds Kolmogorov-Smirnov and PSI of every column, by its name where the files have names.

    Raises:
        InputError: for what cannot be read, or samples of different events.
    """
    import jax

    from ..ot import compare

    if permutations < 0 or most < 2:
        raise InputError(f"--permutations is {permutations}, --most {most}; expected at least 0 and 2")
    first = load_data(a, Want(columns=columns), seed=seed)
    # Two draws of one toy are two samples, not one sample twice.
    second = load_data(b, Want(columns=columns), seed=seed + 1)
    if first.x.shape[1:] != second.x.shape[1:]:
        raise InputError(
            f"{a} has events of shape {first.x.shape[1:]}, {b} of {second.x.shape[1:]}; expected the same to compare"
        )
    if first.columns != second.columns and sorted(first.columns or ()) == sorted(second.columns or ()):
        raise InputError(f"{a} and {b} have the same columns in another order; say one order for both with --columns")
    found = compare(
        first.x,
        second.x,
        key=jax.random.key(seed),
        permutations=permutations,
        most=most,
        names=first.columns or second.columns,
        features=features,
    )
    if plot is not None:
        from ..report import compare_figure

        compare_figure(plot, first.x, second.x, (a, b), first.columns)
    return found
