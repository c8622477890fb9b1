"""Saving and loading: safetensors for the numbers, JSON for everything else, and never a pickle.

A saved thing is a directory of two files, `arrays.safetensors` and `manifest.json`. It is written under a temporary
name and renamed when whole, so a reader sees all of it or none. The manifest carries the format, the versions and
the digest of the arrays; anything that does not match is refused by name.

`save` / `load` store a whole tree of the library's own modules, rebuilt from the manifest alone.
`save_leaves` / `load_leaves` store the arrays of a tree whose structure the reader already has (an optimiser's state).
"""

import hashlib
import importlib
import json
import math
import os
import shutil
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from .errors import CheckpointError, InputError

FORMAT = 1
_ARRAYS, _MANIFEST = "arrays.safetensors", "manifest.json"
# A manifest may name classes and functions of these modules and of nothing else.
_MODULES = ("thalweg.", "equinox.nn.")
_FUNCTIONS = ("jax.nn", "jax.numpy")


def versions() -> dict[str, str]:
    """The versions of the library and of what decides its numbers."""
    found = {}
    for name in ("thalweg", "jax", "jaxlib", "equinox", "optax", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def save(path: str | os.PathLike, tree: Any, *, meta: dict | None = None) -> None:
    """Write a tree of the library's modules, arrays, numbers and text to the directory `path`, atomically.

    Raises:
        InputError: for a leaf that cannot be stored (a lambda, say), naming where it is; or when the disk is full.
    """
    arrays: dict[str, np.ndarray] = {}
    structure = _encode(tree, "", arrays)
    _write(Path(path), arrays, {"structure": structure, "meta": meta or {}})


def load(path: str | os.PathLike) -> tuple[Any, dict]:
    """Read back what `save` wrote: the tree and its `meta`.

    Raises:
        CheckpointError: when it is missing, damaged, of another format, or names a class outside the library.
    """
    arrays, manifest = _read(Path(path))
    if "structure" not in manifest:
        raise CheckpointError(f"{path} holds bare arrays, not a saved model; read it with the run that wrote it")
    return _decode(manifest["structure"], arrays, Path(path)), manifest["meta"]


def save_leaves(path: str | os.PathLike, tree: Any, *, meta: dict | None = None) -> None:
    """Write the arrays of a tree to the directory `path`, atomically, under the names of their places."""
    _write(Path(path), {name: _to_numpy(x) for name, x in _named(tree)}, {"meta": meta or {}})


def load_leaves(path: str | os.PathLike, like: Any) -> tuple[Any, dict]:
    """Read arrays back into the structure of `like`; names, shapes and dtypes must agree.

    Raises:
        CheckpointError: naming the first array that is missing, unknown, or of another shape or dtype.
    """
    arrays, manifest = _read(Path(path))
    names = _named(like)
    unknown = sorted(set(arrays) - {name for name, _ in names})
    if unknown:
        raise CheckpointError(
            f"{path} has an array {unknown[0]!r} that this run does not; was it made with other options?"
        )
    for name, old in names:
        if name not in arrays:
            raise CheckpointError(f"{path} lacks the array {name!r}; was it made with other options?")
        expected = _to_numpy(old) if not isinstance(old, jax.ShapeDtypeStruct) else old
        got = arrays[name]
        if got.shape != expected.shape or got.dtype != expected.dtype:
            raise CheckpointError(
                f"{path}: {name!r} is {got.dtype}{list(got.shape)}; "
                f"this run expects {expected.dtype}{list(expected.shape)}"
            )
    values = iter([_like(arrays[name], old) for name, old in names])
    return jax.tree.map(lambda x: next(values) if eqx.is_array(x) else x, like), manifest["meta"]


def read_meta(path: str | os.PathLike) -> dict:
    """The `meta` of a saved directory, checked like the rest."""
    return _read(Path(path))[1]["meta"]


def write_atomic(path: str | os.PathLike, data: bytes | str) -> None:
    """Write one file so that a reader, or a crash, sees the old content or the new and nothing between.

    Raises:
        InputError: when it cannot be written (a full disk, no permission), with nothing left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write_file(temporary, data.encode() if isinstance(data, str) else data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"could not write {path}: {error.strerror or error}; nothing was left half-written") from error


def _write_file(path, data):
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write(path, arrays, manifest):
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_file(arrays, temporary / _ARRAYS)
        with open(temporary / _ARRAYS, "rb+") as file:
            os.fsync(file.fileno())
        manifest = {"format": FORMAT, "versions": versions(), "sha256": _digest(temporary / _ARRAYS), **manifest}
        _write_file(temporary / _MANIFEST, json.dumps(manifest, indent=1, allow_nan=False).encode())
        if path.exists():
            # A directory cannot be replaced in one call; the old one is moved aside and removed last.
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            os.rename(path, old)
            os.rename(temporary, path)
            shutil.rmtree(old)
        else:
            os.rename(temporary, path)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"could not write {path}: {reason}; nothing was left half-written") from error


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path):
    if not (path / _MANIFEST).is_file():
        raise CheckpointError(f"{path} is not a saved thalweg directory: it has no {_MANIFEST}")
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
        found = manifest["format"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(f"{path / _MANIFEST} is damaged ({error}); restore it or delete {path}") from error
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has format {found!r} (thalweg {manifest.get('versions', {}).get('thalweg')}); this version reads "
            f"format {FORMAT}. Use the version that wrote it"
        )
    file = path / _ARRAYS
    if not file.is_file():
        raise CheckpointError(f"{path} is incomplete: it has no {_ARRAYS}")
    if _digest(file) != manifest.get("sha256"):
        raise CheckpointError(
            f"{file} is damaged or truncated: its digest is not the one in {_MANIFEST}; delete {path}"
        )
    try:
        return load_file(file), manifest
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def _named(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), x) for path, x in leaves if eqx.is_array(x)]


def _is_key(x):
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _to_numpy(x):
    return np.asarray(jax.random.key_data(x) if _is_key(x) else x, order="C")


def _like(array, old):
    if _is_key(old):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=str(jax.random.key_impl(old)))
    return array if isinstance(old, np.ndarray) else jnp.asarray(array)


def _encode(x, at, arrays):
    if x is None or isinstance(x, bool | int | str):
        return x
    if isinstance(x, float):
        return x if math.isfinite(x) else {"float": repr(x)}
    if _is_key(x):
        arrays[at] = _to_numpy(x)
        return {"key": at, "impl": str(jax.random.key_impl(x))}
    if isinstance(x, jax.Array | np.ndarray | np.generic):
        arrays[at] = np.asarray(x, order="C")
        return {"array": at, "numpy": not isinstance(x, jax.Array)}
    if isinstance(x, list | tuple) and type(x) in (list, tuple):
        return {type(x).__name__: [_encode(v, f"{at}[{i}]", arrays) for i, v in enumerate(x)]}
    if isinstance(x, dict) and all(isinstance(k, str) for k in x):
        return {"dict": {k: _encode(v, f"{at}[{k!r}]", arrays) for k, v in x.items()}}
    if isinstance(x, eqx.Module) and _allowed(type(x).__module__):
        values = {f.name: _encode(getattr(x, f.name), f"{at}.{f.name}", arrays) for f in fields(x)}
        return {"module": f"{type(x).__module__}:{type(x).__qualname__}", "fields": values}
    name = getattr(x, "__name__", None)
    for module in _FUNCTIONS:
        if name and getattr(importlib.import_module(module), name, None) is x:
            return {"function": f"{module}:{name}"}
    raise InputError(
        f"cannot save {at or 'the tree'}: {type(x).__name__} {name or x!r} is neither an array, a number, text, "
        f"a function of {' or '.join(_FUNCTIONS)}, nor a module of thalweg or equinox.nn; "
        "use one of the library's named objects"
    )


def _decode(node, arrays, path):
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if "float" in node:
        return float(node["float"])
    if "key" in node:
        return jax.random.wrap_key_data(jnp.asarray(arrays[node["key"]]), impl=node["impl"])
    if "array" in node:
        return arrays[node["array"]] if node["numpy"] else jnp.asarray(arrays[node["array"]])
    for name, kind in (("list", list), ("tuple", tuple)):
        if name in node:
            return kind(_decode(v, arrays, path) for v in node[name])
    if "dict" in node:
        return {k: _decode(v, arrays, path) for k, v in node["dict"].items()}
    if "function" in node:
        module, name = node["function"].split(":")
        if module not in _FUNCTIONS:
            raise CheckpointError(f"{path} names a function of {module!r}, which is refused")
        return getattr(importlib.import_module(module), name)
    return _rebuild(node, arrays, path)


def _rebuild(node, arrays, path):
    module, name = node["module"].split(":")
    if not _allowed(module):
        raise CheckpointError(
            f"{path} names a class of {module!r}, which is refused: only the library's own are rebuilt"
        )
    try:
        cls: Any = importlib.import_module(module)
        for part in name.split("."):
            cls = getattr(cls, part)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(f"{path} needs {module}.{name}, which this version does not have") from error
    if not (isinstance(cls, type) and issubclass(cls, eqx.Module)):
        raise CheckpointError(f"{path} names {module}.{name}, which is not a module class")
    known = {f.name for f in fields(cls)}
    if known != set(node["fields"]):
        raise CheckpointError(
            f"{path}: the fields of {module}.{name} are {sorted(node['fields'])}; expected {sorted(known)}"
        )
    # As equinox itself unflattens a module: fields are set, __init__ is not run a second time.
    made = object.__new__(cls)
    for key, value in node["fields"].items():
        object.__setattr__(made, key, _decode(value, arrays, path))
    return made


def _allowed(module):
    return (module + ".").startswith(_MODULES)
