"""Training a closure: its data are the kinetic equation's, its losses what they say, and the worst setting is added."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from thalweg.core import InputError
from thalweg.pde import (
    Bingham,
    Learned,
    PriorBatch,
    PriorLoss,
    SeriesBatch,
    SeriesLoss,
    Setting,
    Suspension,
    SymmetricQuadratic,
    Trainer,
    bingham_density,
    kinetic_in_gradient,
    kinetic_runs,
    learn_closure,
    moments_in_gradient,
)
from thalweg.pde.suspension import deviator, tensor

TIMES = np.linspace(0.0, 2.0, 6)
D_R = 0.1


def draw(key):
    keys = jax.random.split(key, 3)
    strain, turn = jax.random.uniform(keys[0], (2,), float, 0.1, 1.0)
    z = 0.4 * jnp.exp(1j * jax.random.uniform(keys[1], (), float, 0.0, 6.0))
    return Setting(jnp.asarray([[strain, -turn], [turn, -strain]]), jax.random.uniform(keys[2], (), float), tensor(z))


def settings(n, seed=0):
    return jax.vmap(draw)(jax.random.split(jax.random.key(seed), n))


def test_runs_and_errors_are_those_of_the_two_equations(x64):
    s = settings(2)
    runs = kinetic_runs(s, D_R, TIMES, angles=48, substeps=8)
    one = (Suspension(D_R, s.zeta[1]), s.gradient[1])
    alone = kinetic_in_gradient(*one, bingham_density(s.D[1], 48), TIMES, substeps=8)
    np.testing.assert_allclose(runs.z[1], alone.harmonics[:, 2], atol=1e-12)
    np.testing.assert_allclose(runs.w[1], alone.harmonics[:, 4], atol=1e-12)
    D = moments_in_gradient(Bingham(), *one, s.D[1], TIMES, substeps=3).D
    apart = np.abs(np.asarray(D - alone.D)).max(axis=(1, 2))
    np.testing.assert_allclose(runs.errors(Bingham(), substeps=3)[1], apart, atol=1e-12)
    assert apart.max() > 1e-3


def test_batches_and_losses(x64):
    """The a-priori loss and the loss in time, by hand; rows that wait to be filled are never drawn."""
    runs = kinetic_runs(settings(3), D_R, TIMES)
    half = type(runs)(runs.setting, runs.d_R, runs.times, runs.z.at[2].set(jnp.nan), runs.w, jnp.asarray(2))
    closure = SymmetricQuadratic()
    z, g, w = PriorBatch(half, 400)(jax.random.key(1))
    np.testing.assert_allclose(PriorLoss()(closure, (z, g, w), key=jax.random.key(0)), np.mean(np.abs(z**2 - w) ** 2))
    flat = np.asarray(runs.z[:2]).ravel()
    assert set(np.round(np.asarray(z), 12)) == set(np.round(flat, 12))
    at = np.argmin(np.abs(np.asarray(z)[0] - flat))
    e = deviator(runs.setting.gradient[at // 6]) + runs.setting.zeta[at // 6] * flat[at]
    np.testing.assert_allclose(g[0], e, rtol=1e-12)
    np.testing.assert_allclose(w[0], np.asarray(runs.w[:2]).ravel()[at])
    batch = SeriesBatch(half, 5)(jax.random.key(2))
    rows = [int(np.argmin(np.abs(np.asarray(runs.setting.zeta[:2]) - x))) for x in batch[1].zeta]
    moved = [
        2
        * np.asarray(
            deviator(moments_in_gradient(closure, Suspension(D_R, s.zeta), s.gradient, s.D, TIMES, substeps=2).D)
        )
        for s in (jax.tree.map(lambda x, i=i: x[i], runs.setting) for i in rows)
    ]
    want = np.mean(np.abs(np.stack(moved) - np.asarray(runs.z)[rows]) ** 2)
    np.testing.assert_allclose(SeriesLoss()(closure, batch, key=jax.random.key(0)), want, rtol=1e-9)
    assert want > 1e-5


def test_each_way_of_training_lowers_the_error(x64):
    runs, fresh = kinetic_runs(settings(12), D_R, TIMES), kinetic_runs(settings(12, 1), D_R, TIMES)
    start = Learned.start(D_R, width=8, depth=1, key=jax.random.key(0))
    worst = lambda closure: float(np.max(fresh.errors(closure)))  # noqa: E731
    prior = Trainer(optax.adam(1e-2), 1000, optax.adam(1e-3), 0)(start, runs, key=jax.random.key(1))
    series = Trainer(optax.adam(1e-2), 0, optax.adam(1e-2), 60)(start, runs, key=jax.random.key(1))
    assert worst(prior) < 0.5 * worst(start)
    assert worst(series) < 0.7 * worst(start)
    assert worst(start) == pytest.approx(worst(SymmetricQuadratic()))


def test_the_worst_candidate_is_added(x64):
    start = Learned.start(D_R, width=4, depth=1, key=jax.random.key(0))
    still = Trainer(prior_steps=0, series_steps=0)
    found = learn_closure(
        start, draw, D_R, TIMES, key=jax.random.key(3), first=4, rounds=2, candidates=4, trainer=still
    )
    assert int(found.runs.count) == 6
    errors = np.max(np.asarray(found.runs.errors(start)), axis=1)
    for i, told in enumerate(found.rounds):
        assert told.errors.shape == (4,)
        assert np.ptp(told.errors) > 0
        np.testing.assert_allclose(errors[4 + i], np.max(told.errors), rtol=1e-9)
        np.testing.assert_array_equal(found.runs.setting.gradient[4 + i], told.added.gradient)
    assert len(np.unique(found.runs.setting.zeta)) == 6


def test_bad_input_is_refused():
    start = Learned.start(D_R, width=4, depth=1, key=jax.random.key(0))
    with pytest.raises(InputError, match="rounds=-1"):
        learn_closure(start, draw, D_R, TIMES, key=jax.random.key(0), rounds=-1)
    with pytest.raises(InputError, match="d_R=0"):
        learn_closure(start, draw, 0.0, TIMES, key=jax.random.key(0))
    with pytest.raises(InputError, match="one number for every run"):
        kinetic_runs(Setting(np.zeros((2, 2)), 0.1, np.eye(2) / 2), D_R, TIMES)
    with pytest.raises(InputError, match="zeta"):
        kinetic_runs(Setting(np.zeros((1, 2, 2)), np.asarray([np.nan]), np.eye(2)[None] / 2), D_R, TIMES)
    with pytest.raises(InputError, match="prior_steps=-1"):
        Trainer(prior_steps=-1)
