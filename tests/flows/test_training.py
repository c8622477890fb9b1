"""From arrays to a transport: it learns, it resumes to the same bits, and bad data are refused with a place."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError, StatusError, data_mesh
from thalweg.flows import (
    Brownian,
    DiffusionPath,
    Gaussian,
    Linear,
    MinibatchOT,
    OneSided,
    Paired,
    Training,
    Trigonometric,
    fit,
)
from thalweg.nets import MLP
from thalweg.processes import VE, VP

RNG = np.random.default_rng(0)
DATA = (RNG.normal(size=(600, 2)) @ np.array([[1.0, 0.4], [0.0, 0.3]]) + [3.0, -1.0]).astype(np.float32)


def small(event, encoder, *, key):
    return MLP(event, width=32, depth=2, condition=encoder, key=key)


def quick(target=DATA, steps=40, key=0, **choices):
    choices = {"net": small, "batch": 64, "quiet": True, **choices}
    return fit(target, key=jax.random.key(key), steps=steps, **choices)


def test_it_learns_a_gaussian(key):
    flow = quick(steps=800, batch=128)
    x = np.asarray(flow.sample(4000, key=key, steps=30))
    spread = np.abs(np.cov(DATA.T))
    assert_z(x.mean(0), DATA.mean(0), np.sqrt(np.diag(spread) / 4000) + 0.03)
    np.testing.assert_allclose(np.cov(x.T), np.cov(DATA.T), atol=0.08)


@pytest.mark.parametrize(
    "path", [OneSided(Trigonometric()), DiffusionPath(VP()), DiffusionPath(VE())], ids=["trig", "VP", "VE"]
)
def test_every_one_sided_path_trains_and_runs(path, key):
    flow = quick(path=path)
    assert isinstance(flow.source, Gaussian)
    np.testing.assert_allclose(flow.source.std, float(path.alpha(jnp.asarray(0.0))), rtol=1e-5)
    assert np.isfinite(flow.sample(8, key=key, steps=10)).all()
    assert np.isfinite(flow.sample(8, key=key, steps=10, sde=0.1)).all()


def test_from_a_source_both_fields_are_learned(key):
    source = RNG.normal(size=(300, 2)).astype(np.float32) * 0.5
    flow = quick(source=source)
    assert isinstance(flow.path, Linear)
    assert isinstance(flow.path.latent, Brownian)
    assert flow.fields.denoiser is not None
    assert flow.has_score
    assert not flow.has_likelihood
    assert flow.sample(5, key=key, sde=0.3, steps=8).shape == (5, 2)
    assert flow.push(source[:4], key=key, steps=8).shape == (4, 2)


def test_a_killed_fit_resumes_to_the_same_bits(tmp_path):
    whole = quick(steps=30)
    training = Training.of(DATA, key=jax.random.key(0), steps=30, net=small, batch=64)

    def run(**options):
        return training.run(
            30, key=jax.random.key(0), quiet=True, chunk=7, directory=tmp_path, save_seconds=0.0, **options
        )

    part = training.run(16, key=jax.random.key(0), quiet=True, chunk=7, directory=tmp_path, save_seconds=0.0)
    assert int(part.num_steps) == 16
    rest = training.transport(run(resume=True))
    assert eqx.tree_equal(whole.fields, rest.fields)


def test_several_devices_give_the_same_model(key):
    mesh = data_mesh(4)
    alone, together = quick(steps=20), quick(steps=20, mesh=mesh)
    for a, b in zip(jax.tree.leaves(alone.fields), jax.tree.leaves(together.fields), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)
    x, y = (f.sample(8, key=key, steps=8, mesh=m) for f, m in ((alone, None), (alone, mesh)))
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)


def test_the_first_bad_loss_raises_with_what_was_kept():
    with pytest.raises(StatusError, match=r"training stopped at step \d+: a non-finite number") as caught:
        quick(learning_rate=1e20, clip=None, steps=60)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(caught.value.result.value) if eqx.is_inexact_array(x))


BAD = np.where(np.arange(1200).reshape(600, 2) == 11, np.nan, DATA)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"target": BAD}, r"non-finite number at row 5, column 1"),
        ({"target": DATA[:1]}, r"has 1 rows; expected at least two"),
        ({"target": DATA[:, 0]}, r"expected \(n, d\)"),
        ({"target": np.full((9, 2), "x")}, r"expected numbers"),
        ({"source": DATA[:, :1]}, r"source has events of shape \(1,\), target \(2,\)"),
        ({"coupling": Paired()}, r"needs a source"),
        ({"coupling": Paired(), "source": DATA[:7]}, r"7 source rows and 600 target rows"),
        ({"path": OneSided(Linear()), "source": DATA}, r"starts from a standard normal"),
        ({"condition": np.arange(3)}, r"600 rows of data have 3 conditions"),
        ({"condition": np.full(600, -2)}, r"labels start at -2"),
        ({"condition": np.full(600, "a")}, r"neither integer labels"),
        ({"target": np.concatenate([DATA, np.ones((600, 1))], 1)}, r"column 2 is constant"),
    ],
)
def test_bad_data(choices, message):
    with pytest.raises(InputError, match=message):
        quick(**choices)


def test_minibatch_transport_trains(key):
    flow = quick(coupling=MinibatchOT(), steps=10)
    assert not flow.has_score
    with pytest.raises(InputError, match=r"MinibatchOT makes x0 depend on x1"):
        flow.sample(4, key=key, sde=0.5)
