"""From what was typed after `--target` to arrays that can be learned from.

Answers    which points, which conditions, on which grid; which of them are held out
Takes      a file (see `files`), a run directory (its samples), or a data set by name, `name:N` for N points of it
Fails      with one line: no such thing (and the nearest name), fewer than two rows, a number that is not finite (where)
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError, choose
from .files import READERS, Table, Want, read_table

# More distinct integers than this are read as a number to condition on, not as labels.
MOST_LABELS = 200


@dataclass(frozen=True)
class Data:
    """Points and what is known about them.

    `c` is (n,) integer labels, whose texts are `labels`, or (n, k) numbers, or None.
    """

    name: str
    x: np.ndarray
    c: np.ndarray | None = None
    labels: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    quantum: float | None = None
    bounds: tuple[float, float] | None = None

    @property
    def sha256(self) -> str:
        """The digest of points and conditions."""
        digest = hashlib.sha256()
        for a in (self.x, self.c):
            if a is not None:
                digest.update(f"{a.dtype.str}{a.shape}".encode())
                digest.update(np.ascontiguousarray(a).tobytes())
        return digest.hexdigest()

    def about(self) -> dict[str, Any]:
        """What the record of a run keeps of it."""
        return {"name": self.name, "rows": len(self.x), "event": list(self.x.shape[1:]), "sha256": self.sha256}


def load_data(spec: str, want: Want = Want(), *, seed: int = 0) -> Data:  # noqa: B008 - frozen
    """Load a file, a run's samples or a data set.

    Args:
        spec: what was typed.
        want: condition, columns, layer and obsm.
        seed: for data sets that are drawn.

    Raises:
        InputError: when there is no such thing, or it cannot be learned from.
    """
    path = Path(spec)
    if (path / "run.json").is_file():
        path = _samples_of(path)
    if path.suffix.lower() in READERS or path.exists():
        return _from_table(spec, read_table(path, want), want)
    return _named(spec, want, seed)


def split_rows(data: Data, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out rows; each label is divided in the same proportion, and none is held out whole.

    Raises:
        InputError: for a share outside (0, 1), or one that leaves either part without two rows.
    """
    if not 0 < share < 1:
        raise InputError(f"--held-out is {share:g}; expected a share between 0 and 1")
    rng = np.random.default_rng(seed)
    groups = data.c if data.labels is not None and data.c is not None else np.zeros(len(data.x), int)
    held = np.zeros(len(data.x), bool)
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        held[rows[: min(round(share * len(rows)), len(rows) - 1)]] = True
    if held.sum() < 2 or (~held).sum() < 2:
        raise InputError(
            f"{data.name} has {len(data.x)} rows; holding out {share:g} of them leaves a part without two rows"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def _samples_of(path: Path) -> Path:
    found = sorted(path.glob("samples-*.npy"), key=lambda p: p.stat().st_mtime)
    found = [p for p in found if not p.stem.endswith("-log_prob")]
    if not found:
        raise InputError(f"{path} holds no samples yet; draw some with: thalweg sample {path}")
    return found[-1]


def _from_table(spec: str, table: Table, want: Want) -> Data:
    x = np.asarray(table.x)
    if x.dtype.kind not in "biuf":
        raise InputError(f"{spec} holds {x.dtype}; expected numbers")
    x = x.reshape(-1, 1) if x.ndim <= 1 else x
    if len(x) < 2:
        raise InputError(f"{spec} has {len(x)} row{'s' * (len(x) != 1)}; expected at least two")
    if x.size == 0:
        raise InputError(f"{spec} has events of shape {x.shape[1:]}; expected at least one number a row")
    x = x.astype(np.float32)
    _finite(spec, x, table.columns)
    if table.condition is None:
        return Data(Path(spec).name, x, columns=table.columns)
    c, labels = _conditions(f"{spec}: condition {want.condition!r}", np.asarray(table.condition))
    if len(c) != len(x):
        raise InputError(f"{spec} has {len(x)} rows and {len(c)} values of {want.condition!r}; expected as many")
    return Data(Path(spec).name, x, c, labels, table.columns)


def _finite(spec, x, columns):
    if np.isfinite(x).all():
        return
    at = np.argwhere(~np.isfinite(x))
    row, *rest = map(int, at[0])
    where = f"column {columns[rest[0]]!r}" if columns and len(rest) == 1 else f"column {', '.join(map(str, rest))}"
    what = "missing or NaN" if np.isnan(x[tuple(at[0])]) else "infinite"
    more = f" ({len(at)} such numbers)" if len(at) > 1 else ""
    raise InputError(f"{spec}: the number in row {row}, {where} is {what}{more}; remove or fill it")


def _conditions(what: str, values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Labels for text, truth values and few integers; numbers (n, k) otherwise."""
    known, codes = np.unique(values, return_inverse=True)
    kind = values.dtype.kind
    if values.ndim == 1 and (kind in "USb" or (kind in "iu" and len(known) <= MOST_LABELS)):
        if kind == "U" and (known == "").any():
            raise InputError(f"{what} is empty in row {int(np.argmax(values == ''))}; fill or drop it")
        return codes.astype(np.int32), tuple(map(str, known))
    if kind not in "iuf":
        raise InputError(f"{what} holds {values.dtype}; expected labels or numbers")
    c = values.reshape(len(values), -1).astype(np.float32)
    _finite(what, c, None)
    return c, None


def _named(spec: str, want: Want, seed: int) -> Data:
    from ..problems import dataset, names

    name, _, count = spec.partition(":")
    if Path(spec).suffix or "/" in spec or "\\" in spec:
        raise InputError(f"there is no file {spec}")
    choose("data set", name, names())
    if want.columns or want.layer or want.obsm:
        raise InputError(f"--columns, --layer and --obsm belong to files; {name!r} is a data set by name")
    if count and not count.isdigit():
        raise InputError(f"{spec!r}: expected a number of points after the colon, as in {name}:1000")
    found = dataset(name, n=int(count) if count else None, key=seed)
    if len(found.x) < 2:
        raise InputError(f"{spec} has {len(found.x)} row; expected at least two")
    c = labels = None
    if want.condition is not None and want.condition_needed:
        choose("condition", want.condition, ["label"] if found.labels is not None else [])
        c, labels = np.asarray(found.labels, np.int32), found.label_names
    return Data(name, np.asarray(found.x, np.float32), c, labels, None, found.quantum, found.bounds)
