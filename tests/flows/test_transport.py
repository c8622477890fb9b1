"""A transport in the data's units: samples, densities, pushes and pulls, conditions, saving, warnings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import CheckpointError, InputError, Probes, Score, StatusError, Velocity, save
from thalweg.flows import (
    Brownian,
    ConstantNoise,
    Empirical,
    Fields,
    Gaussian,
    Independent,
    Linear,
    MinibatchOT,
    OneSided,
    Transport,
    Units,
    VanishingNoise,
)
from thalweg.flows import (
    transport as module,
)
from thalweg.problems import MixtureInterpolant, gaussian
from thalweg.processes import Adaptive

PATH = OneSided(Linear())
UNITS = Units(jnp.asarray([3.0, -1.0]), jnp.asarray([2.0, 0.5]))
LAW = gaussian(np.array([0.3, -0.2]), np.array([[0.8, 0.3], [0.3, 1.2]]))  # in the model's units
NOISE = gaussian(np.zeros(2), np.eye(2))
MEAN = np.array([3.0, -1.0]) + np.array([2.0, 0.5]) * np.array([0.3, -0.2])
COV = np.array([[4.0, 1.0], [1.0, 0.25]]) * np.array([[0.8, 0.3], [0.3, 1.2]])


@pytest.fixture(scope="module")
def exact():
    velocity = MixtureInterpolant(NOISE, LAW, PATH).velocity
    return Transport(Fields(velocity=velocity), PATH, Independent(), Gaussian((2,)), UNITS, (2,))


def shifting(labels=("a", "b", "c")):
    """A conditional transport that moves everything by its label."""
    velocity = Velocity(lambda t, x, c=None: jnp.ones_like(x) * (0.0 if c is None else c))
    conditions = jnp.asarray([0, 0, 0, 1, 2], jnp.int32)
    return Transport(Fields(velocity=velocity), PATH, Independent(), Gaussian((2,)), UNITS, (2,), conditions, labels)


@pytest.mark.parametrize(
    "sde", [None, 0.4, VanishingNoise(0.2, PATH), lambda t: 0.3 * (1 - t)], ids=["ODE", "number", "object", "function"]
)
def test_samples_have_the_law_in_the_datas_units(exact, sde, key):
    x = np.asarray(exact.sample(4000, key=key, sde=sde, steps=200), np.float64)
    assert_z(x.mean(0), MEAN, np.sqrt(np.diag(COV) / 4000) + 0.005)
    spread = np.einsum("ni,nj->nij", x - MEAN, x - MEAN)
    assert_z(spread.mean(0), COV, spread.std(0) / 4000**0.5 + 0.01)


def test_densities_are_those_of_the_datas_units(exact, key):
    x = np.random.default_rng(0).multivariate_normal(MEAN, COV, 5).astype(np.float32)
    truth = jax.scipy.stats.multivariate_normal.logpdf(x, MEAN, COV)
    np.testing.assert_allclose(exact.log_prob(x, key=key, steps=60).mean, truth, atol=5e-4)
    found = exact.log_prob(x, key=key, how=Probes(64), steps=40)
    assert_z(found.mean, truth, np.asarray(found.stderr) + 1e-3)


def test_push_and_pull_are_inverse(exact, key):
    z = jax.random.normal(key, (6, 2))
    x = exact.push(z, key=key, steps=200)
    np.testing.assert_allclose(exact.pull(x, key=key, steps=200), z, atol=2e-3)


def test_trajectories_go_from_base_to_data(exact, key):
    ts, paths = exact.trajectories(7, key=key, saves=9, steps=40)
    assert paths.shape == (len(ts), 7, 2)
    assert float(ts[0]) == 0
    assert float(ts[-1]) == 1


def test_chunks_bound_memory_and_change_nothing_else(exact, key, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 8)
    monkeypatch.setattr(module, "SMALL_CHUNK", 8)
    x = exact.sample(19, key=key, steps=10)
    assert x.shape == (19, 2)
    assert len(np.unique(np.asarray(x)[:, 0])) == 19
    np.testing.assert_array_equal(x[:16], exact.sample(16, key=key, steps=10))


def test_conditions_by_number_name_row_and_frequency(key):
    flow = shifting()
    still = UNITS.decode(jax.random.normal(key, (4, 2)))
    base = flow.sample(4, key=key, condition=0, steps=4)
    assert still.shape == base.shape
    for condition in (2, "c", jnp.full(4, 2)):
        moved = flow.sample(4, key=key, condition=condition, steps=4)
        np.testing.assert_allclose(moved - base, 2 * jnp.broadcast_to(UNITS.scale, (4, 2)), rtol=1e-4)
    drawn = np.bincount(np.asarray(flow.draw_conditions(2000, key=key)), minlength=3) / 2000
    assert_z(drawn, [0.6, 0.2, 0.2], np.sqrt(np.array([0.24, 0.16, 0.16]) / 2000))


@pytest.mark.parametrize("sde", [None, 0.3])
def test_steps_of_its_own_keep_each_particles_condition(sde, key):
    c = jnp.asarray([0, 2, 1, 2])
    moving = shifting()
    moving = dataclasses.replace(moving, fields=Fields(moving.fields.velocity, score=Score(lambda t, x, c=None: -x)))
    x = moving.sample(4, key=key, condition=c, sde=sde, method=Adaptive(rtol=1e-2, atol=1e-2))
    still = moving.sample(4, key=key, condition=0, sde=sde, method=Adaptive(rtol=1e-2, atol=1e-2))
    gain = (x - still) / UNITS.scale
    # With noise, the score's pull shrinks every gap by the same factor.
    np.testing.assert_allclose(gain, c[:, None] * (1.0 if sde is None else gain[2, 0]) * np.ones(2), rtol=0.1)
    assert sde is None or 0.5 < gain[2, 0] < 0.95
    with pytest.raises(StatusError, match=r"max_steps was reached"):
        moving.sample(4, key=key, method=Adaptive(rtol=1e-6, atol=1e-9, max_steps=1))


def test_guidance_is_a_new_transport(key):
    flow = shifting().guided(3.0)
    plain = shifting().sample(3, key=key, condition=1, steps=4)
    moved = flow.sample(3, key=key, condition=1, steps=4)
    np.testing.assert_allclose(moved - plain, 2 * jnp.broadcast_to(UNITS.scale, (3, 2)), rtol=1e-4)


def test_saved_and_loaded_it_gives_the_same_bits(exact, tmp_path, key):
    exact.save(tmp_path / "model")
    back = Transport.load(tmp_path / "model")
    np.testing.assert_array_equal(back.sample(5, key=key, steps=5), exact.sample(5, key=key, steps=5))
    save(tmp_path / "other", Gaussian((2,)))
    with pytest.raises(CheckpointError, match=r"holds a Gaussian; expected a Transport"):
        Transport.load(tmp_path / "other")


def test_a_stiff_sde_is_warned_of(exact, key):
    with pytest.warns(UserWarning, match=r"the SDE is stiff: .* take more steps or a smaller eps"):
        exact.sample(2, key=key, sde=ConstantNoise(1.0), steps=10)


def test_what_is_not_known_is_refused(exact, key):
    two_sided = Transport(exact.fields, Linear(Brownian()), Independent(), Empirical(jnp.zeros((3, 2))), UNITS, (2,))
    assert not two_sided.has_score
    with pytest.raises(InputError, match=r"Linear is not one-sided"):
        two_sided.sample(2, key=key, sde=0.1)
    with pytest.raises(InputError, match=r"density of the base"):
        two_sided.log_prob(np.zeros((2, 2)), key=key, steps=2)
    coupled = Transport(exact.fields, PATH, MinibatchOT(), Gaussian((2,)), UNITS, (2,))
    with pytest.raises(InputError, match=r"MinibatchOT makes x0 depend on x1"):
        coupled.sample(2, key=key, sde=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, k: f.sample(0, key=k), r"n is 0; expected an integer of at least 1"),
        (lambda f, k: f.sample(2, key=k, steps=0), r"steps is 0"),
        (lambda f, k: f.sample(2, key=k, sde=-0.1), r"eps is -0.1"),
        (lambda f, k: f.sample(2, key=k, condition=7), r"label 7 was not in training; known: 0 to 2 \(a, b, c\)"),
        (lambda f, k: f.sample(2, key=k, condition="d"), r"unknown label 'd'"),
        (lambda f, k: f.sample(2, key=k, condition=jnp.zeros(5)), r"conditions have shape \(5,\)"),
        (lambda f, k: f.log_prob(np.zeros((2, 3)), key=k, condition=0), r"points have shape \(2, 3\)"),
        (lambda f, k: f.log_prob(np.zeros((2, 2)), key=k), r"this transport is conditional"),
    ],
)
def test_bad_calls(call, message, key):
    with pytest.raises(InputError, match=message):
        call(shifting(), key)


def test_unconditional_transports_take_no_condition(exact, key):
    with pytest.raises(InputError, match=r"fitted without conditions"):
        exact.sample(2, key=key, condition=1)
    with pytest.raises(InputError, match=r"guidance needs a conditional transport"):
        exact.guided(2.0)
