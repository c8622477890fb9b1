"""Reading tables of numbers from files, and writing samples back.

Answers    what is in this file: rows of numbers, their names, and the column that conditions them
Formats    .npy .npz .csv .tsv .parquet .h5ad to read; .npy .npz .csv to write. Nothing is ever unpickled
Fails      with one line (`InputError`) that names the file, and the row and column where there is one
"""

import csv
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError, choose


@dataclass(frozen=True)
class Table:
    """What was read: rows (n, ...), the names of the columns, and the values (n, ...) of the condition."""

    x: np.ndarray
    columns: tuple[str, ...] | None = None
    condition: np.ndarray | None = None


@dataclass(frozen=True)
class Want:
    """Which part of a file is asked for: a condition, some columns, an h5ad layer or obsm key."""

    condition: str | None = None
    columns: tuple[str, ...] | None = None
    layer: str | None = None
    obsm: str | None = None
    # A source shares the target's options but need not have its condition.
    condition_needed: bool = True


def read_table(path: Path, want: Want = Want()) -> Table:
    """Read a file of any known format.

    Raises:
        InputError: when it is missing, unreadable, ragged, not numeric, or lacks what was asked for.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"there is no file {path}" + ("; it is a directory" if path.is_dir() else ""))
    if suffix not in READERS:
        raise InputError(f"{path}: cannot read {suffix or 'a file without a suffix'}; expected {', '.join(READERS)}")
    if suffix != ".h5ad" and (want.layer or want.obsm):
        raise InputError(f"{path}: --layer and --obsm belong to .h5ad files")
    if suffix in (".npy", ".npz") and want.columns:
        raise InputError(f"{path}: --columns belongs to tables with named columns (.csv, .tsv, .parquet, .h5ad)")
    try:
        return READERS[suffix](path, want)
    except InputError:
        raise
    # The readers are other people's; what they raise on a damaged file is not one kind of error.
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, MemoryError) as error:
        raise InputError(f"{path} cannot be read: {_first_line(error)}") from error


def write_samples(path: Path, x: np.ndarray, extra: dict[str, np.ndarray], columns: tuple[str, ...] | None) -> None:
    """Write samples as .npy, .npz (with everything in `extra`) or .csv (one column a feature), atomically.

    Raises:
        InputError: for another suffix, or when the disk is full; nothing is left half-written.
    """
    from ..core.io import write_atomic

    suffix = path.suffix.lower()
    if suffix == ".npy":
        write_atomic(path, npy_bytes(x))
        for name, values in extra.items():
            write_atomic(path.with_name(f"{path.stem}-{name}.npy"), npy_bytes(values))
    elif suffix == ".npz":
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, x=x, **extra)
        write_atomic(path, stream.getvalue())
    elif suffix == ".csv":
        flat = x.reshape(len(x), -1)
        names = columns if columns and len(columns) == flat.shape[1] else [f"x{i}" for i in range(flat.shape[1])]
        rest = [v for v in extra.values() if v.ndim == 1]
        rows = zip(*flat.T, *rest, strict=True)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*names, *(k for k, v in extra.items() if v.ndim == 1)])
        writer.writerows([_cell(v) for v in row] for row in rows)
        write_atomic(path, text.getvalue())
    else:
        raise InputError(f"cannot write {path}: unknown suffix {suffix!r}; expected .npy, .npz or .csv")


def read_arrays(path: Path, names: tuple[str, ...], remedy: str) -> list[np.ndarray]:
    """Arrays of an .npz file that a command wrote.

    Raises:
        InputError: for a file that is missing, damaged or without one of them, with the remedy.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            return [found[name] for name in names]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is missing or damaged ({error}); {remedy}") from error


def npy_bytes(x: np.ndarray) -> bytes:
    """An array as the bytes of an .npy file."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(x), allow_pickle=False)
    return stream.getvalue()


def _cell(value):
    return f"{value:.9g}" if isinstance(value, float | np.floating) else str(value)


def _numpy(path):
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        # NumPy takes any other content for a pickle, and offers to run it.
        raise InputError(
            f"{path} cannot be read: it is not a NumPy file of numbers, or is truncated; save it again with np.save"
        ) from error


def _npy(path, want):
    x = _numpy(path)
    if want.condition and want.condition_needed:
        raise InputError(
            f"{path}: an .npy file holds one array and no condition {want.condition!r}; use .npz or a table"
        )
    return Table(x)


def _npz(path, want):
    with _numpy(path) as file:
        names = list(file.keys())
        condition = file[_pick("array", want.condition, names, path)] if _has(want, names) else None
        rest = [n for n in names if n != want.condition]
        usual = [n for n in ("x", "X", "data", "samples") if n in rest]
        if not usual and len(rest) != 1:
            raise InputError(f"{path} holds {', '.join(names) or 'no array'}; expected one array, or one called x")
        return Table(file[(usual or rest)[0]], None, condition)


def _csv(path, want, delimiter=","):
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = [(number, row) for number, row in enumerate(csv.reader(file, delimiter=delimiter), 1) if row]
    if not rows:
        raise InputError(f"{path} is empty")
    width = len(rows[0][1])
    for number, row in rows:
        if len(row) != width:
            raise InputError(f"{path} is ragged: line {number} has {len(row)} values, line {rows[0][0]} has {width}")
    header = not all(map(_is_number, rows[0][1]))
    names = [n.strip() for n in rows[0][1]] if header else [str(i) for i in range(width)]
    body = [row for _, row in rows[header:]]
    columns = dict(zip(names, zip(*body, strict=True) if body else [()] * width, strict=True))
    if len(columns) != width:
        raise InputError(f"{path} names a column twice: {', '.join(names)}")
    return _from_columns(path, columns, want)


def _parquet(path, want):
    try:
        import pandas
    except ImportError as error:
        raise _missing(path, "pandas and pyarrow") from error
    try:
        frame = pandas.read_parquet(path)
    except ImportError as error:
        raise _missing(path, "pyarrow") from error
    except Exception as error:  # pyarrow's own errors share no base with the built-in ones
        raise InputError(f"{path} cannot be read: {_first_line(error)}") from error
    return _from_columns(path, {str(n): frame[n].to_numpy() for n in frame.columns}, want)


def _h5ad(path, want):
    try:
        import h5py
    except ImportError as error:
        raise _missing(path, "h5py") from error
    with h5py.File(path, "r") as file:
        if want.layer and want.obsm:
            raise InputError("--layer and --obsm both name the data; give one of them")
        folder, name = ("layers", want.layer) if want.layer else ("obsm", want.obsm)
        if name is None:
            if "X" not in file:
                raise InputError(f"{path} has no X; choose --layer or --obsm")
            x = _h5_matrix(file["X"])
        else:
            group: Any = file.get(folder)
            x = _h5_matrix(group[_pick(folder, name, [] if group is None else list(group), path)])
        obs: Any = file.get("obs", {})
        condition = _h5_column(obs[_pick("obs column", want.condition, list(obs), path)]) if _has(want, obs) else None
        named = name is None or folder == "layers"
        names = _h5_names(file) if named else None
    if want.columns:
        known = names or tuple(map(str, range(x.shape[1])))
        x = x[:, [known.index(_pick("column", c, known, path)) for c in want.columns]]
        names = want.columns
    return Table(x, names, condition)


def _h5_matrix(node):
    if hasattr(node, "shape"):
        return np.asarray(node[...])
    import scipy.sparse

    kind = {"csr_matrix": scipy.sparse.csr_matrix, "csc_matrix": scipy.sparse.csc_matrix}
    encoding = node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "csr") + "_matrix")
    shape = tuple(node.attrs.get("shape", node.attrs.get("h5sparse_shape", ())))
    made = kind[encoding]((node["data"][...], node["indices"][...], node["indptr"][...]), shape=shape)
    return made.toarray()


def _h5_column(node):
    if hasattr(node, "shape"):
        return _text(node[...])
    if "categories" in node:
        codes, categories = node["codes"][...], _text(node["categories"][...])
        if (codes < 0).any():
            raise InputError(
                f"obs column {node.name!r} misses a value in row {int(np.argmax(codes < 0))}; fill or drop it"
            )
        return categories[codes]
    raise InputError(
        f"obs column {node.name!r} is of a kind that is not read here; expected numbers, text or categories"
    )


def _h5_names(file):
    var = file.get("var")
    index = None if var is None else var.get(var.attrs.get("_index", "_index"))
    return None if index is None else tuple(map(str, _text(index[...])))


def _text(values):
    if values.dtype.kind in "OS":
        return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values])
    return values


def _from_columns(path, columns, want):
    """Numbers from named columns; the condition is taken out, the rest must be numeric."""
    condition = None
    if _has(want, columns):
        condition = _natural(columns[_pick("column", want.condition, columns, path)])
    if want.columns:
        names = [_pick("column", name, columns, path) for name in want.columns]
    else:
        names = [name for name in columns if name != want.condition]
    if not names:
        raise InputError(f"{path} has no column left to learn besides the condition {want.condition!r}")
    x = np.stack([_numbers(path, name, columns[name]) for name in names], axis=1)
    return Table(x, tuple(names), condition)


def _numbers(path, name, values):
    try:
        return np.array(values, dtype=np.float64)
    except (ValueError, TypeError):
        filled = ["nan" if v is None or str(v).strip() == "" else str(v) for v in values]
    for row, value in enumerate(filled):
        if not _is_number(value):
            raise InputError(
                f"{path}: column {name!r} is not numeric (row {row} holds {value[:40]!r}); "
                "choose columns with --columns, or name it with --condition"
            )
    return np.array(filled, dtype=np.float64)


def _natural(values):
    """Text that spells integers, or else numbers, becomes numbers; anything else stays text."""
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return array
    text = np.array([str(v).strip() for v in values])
    for kind in (np.int64, np.float64):
        try:
            return text.astype(kind)
        except ValueError:
            continue
    return text


def _has(want, names):
    return want.condition is not None and (want.condition_needed or want.condition in names)


def _pick(kind, name, names, path):
    try:
        return choose(kind, name, map(str, names))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _missing(path, package):
    return InputError(f"{path} needs {package}: pip install 'thalweg[data]'")


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


READERS: dict[str, Callable[[Path, Want], Table]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
    ".tsv": lambda path, want: _csv(path, want, "\t"),
    ".parquet": _parquet,
    ".h5ad": _h5ad,
}
