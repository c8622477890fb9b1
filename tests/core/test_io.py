"""Saving: exact round trips, and every kind of damage refused by name."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.core import (
    CheckpointError,
    InputError,
    Probes,
    Weighted,
    load,
    load_leaves,
    read_meta,
    save,
    save_leaves,
    write_atomic,
)


@pytest.fixture
def tree(key):
    net = eqx.nn.MLP(3, 2, 8, 2, activation=jax.nn.silu, final_activation=jax.nn.tanh, key=key)
    return {
        "net": net,
        "cloud": Weighted(jnp.arange(6.0).reshape(3, 2), jnp.zeros(3)),
        "how": Probes(3),
        "key": key,
        "mixed": [1, 2.5, None, "text", True, float("inf"), (np.arange(3), jnp.asarray(2, jnp.int8))],
    }


def same(a, b):
    a, b = (
        jax.tree.map(
            lambda x: jax.random.key_data(x) if eqx.is_array(x) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
            t,
        )
        for t in (a, b)
    )
    return eqx.tree_equal(a, b)


def test_round_trip(tree, tmp_path):
    save(tmp_path / "saved", tree, meta={"step": 3})
    back, meta = load(tmp_path / "saved")
    assert meta == {"step": 3}
    assert same(tree, back)
    assert back["net"].activation is jax.nn.silu
    assert back["mixed"][6][1].dtype == jnp.int8


def test_a_second_save_replaces_the_first(tree, tmp_path):
    save(tmp_path / "saved", tree)
    save(tmp_path / "saved", Probes(7))
    assert load(tmp_path / "saved")[0] == Probes(7)
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot save \['f'\]: function <lambda>|cannot save \['f'\]"):
        save(tmp_path / "saved", {"f": lambda x: x})
    assert list(tmp_path.iterdir()) == []


def test_leaves_round_trip_through_an_optimiser(tmp_path, key):
    params = {"w": jax.random.normal(key, (3, 2)), "b": jnp.zeros(2)}
    state = optax.adam(1e-3).init(params)
    save_leaves(tmp_path / "s", (state, key), meta={"note": "x"})
    back, meta = load_leaves(tmp_path / "s", jax.tree.map(lambda x: x, (state, key)))
    assert same(back, (state, key))
    assert meta == read_meta(tmp_path / "s") == {"note": "x"}


def test_leaves_of_another_shape_are_refused(tmp_path):
    save_leaves(tmp_path / "s", {"a": jnp.zeros(3)})
    with pytest.raises(CheckpointError, match=r"'\['a'\]' is float32\[3\]; this run expects float32\[4\]|is float32"):
        load_leaves(tmp_path / "s", {"a": jnp.zeros(4)})
    with pytest.raises(CheckpointError, match=r"lacks the array"):
        load_leaves(tmp_path / "s", {"a": jnp.zeros(3), "b": jnp.zeros(1)})
    with pytest.raises(CheckpointError, match=r"that this run does not"):
        load_leaves(tmp_path / "s", {})


def edit(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.update(changes)
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_damage_is_refused_by_name(tree, tmp_path):
    path = tmp_path / "saved"
    with pytest.raises(CheckpointError, match=r"not a saved thalweg directory"):
        load(path)

    save(path, tree)
    data = (path / "arrays.safetensors").read_bytes()
    (path / "arrays.safetensors").write_bytes(data[:-9])
    with pytest.raises(CheckpointError, match=r"damaged or truncated"):
        load(path)
    (path / "arrays.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"incomplete"):
        load(path)

    save(path, tree)
    edit(path, format=99)
    with pytest.raises(CheckpointError, match=r"has format 99.*this version reads format 1"):
        load(path)
    (path / "manifest.json").write_text("{ half")
    with pytest.raises(CheckpointError, match=r"is damaged"):
        load(path)


@pytest.mark.parametrize("name", ["os:system", "builtins:print", "thalweg_evil:Thing", "optax:adam"])
def test_a_manifest_cannot_name_foreign_classes(name, tree, tmp_path):
    save(tmp_path / "s", Probes(2))
    edit(tmp_path / "s", structure={"module": name, "fields": {}})
    with pytest.raises(CheckpointError, match=r"refused"):
        load(tmp_path / "s")


def test_a_manifest_cannot_name_functions_or_other_objects(tmp_path):
    save(tmp_path / "s", Probes(2))
    edit(tmp_path / "s", structure={"function": "os:system"})
    with pytest.raises(CheckpointError, match=r"refused"):
        load(tmp_path / "s")
    edit(tmp_path / "s", structure={"module": "thalweg.core.io:save", "fields": {}})
    with pytest.raises(CheckpointError, match=r"not a module class"):
        load(tmp_path / "s")
    edit(tmp_path / "s", structure={"module": "thalweg.core.fields:Probes", "fields": {"q": 2}})
    with pytest.raises(CheckpointError, match=r"the fields of"):
        load(tmp_path / "s")


def test_a_full_disk_leaves_nothing_behind(tree, tmp_path, monkeypatch):
    save(tmp_path / "saved", Probes(1))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("thalweg.core.io.save_file", full)
    with pytest.raises(InputError, match=r"No space left on device; nothing was left half-written"):
        save(tmp_path / "saved", tree)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]
    assert load(tmp_path / "saved")[0] == Probes(1)

    monkeypatch.setattr("thalweg.core.io.os.fsync", full)
    with pytest.raises(InputError, match=r"nothing was left half-written"):
        write_atomic(tmp_path / "file.txt", "text")
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]
