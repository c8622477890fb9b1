"""Energies with Jarzynski's weights: Z along the whole training without a bias, the mass of a mode, and refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.scipy.special import logsumexp

from tests.stats import assert_z
from thalweg.core import InputError, Status, run
from thalweg.problems import Density, Mixture, Normal
from thalweg.sampling.ebm import (
    AllMove,
    Contrastive,
    EnergyData,
    EnergyDensity,
    EnergyTraining,
    JarzynskiWalkers,
    Persistent,
    SomeMove,
)


class TwoHills(eqx.Module):
    """-log of two unnormalised Gaussians of other widths: log Z is known for all parameters."""

    log_w: jax.Array
    means: jax.Array
    log_std: jax.Array

    def __call__(self, x):
        return -logsumexp(self.log_w - 0.5 * jnp.sum((x - self.means) ** 2, axis=1) * jnp.exp(-2 * self.log_std))

    @property
    def log_parts(self):
        d = self.means.shape[1]
        return self.log_w + d * self.log_std + 0.5 * d * np.log(2 * np.pi)

    @property
    def log_z(self):
        return logsumexp(self.log_parts)

    @property
    def mean(self):
        return jax.nn.softmax(self.log_parts) @ self.means


MODEL = TwoHills(jnp.asarray([0.3, -0.4]), jnp.asarray([[-1.0, 0.5], [1.2, -0.3]]), jnp.asarray([-0.2, 0.1]))
STDS = np.exp(np.asarray(MODEL.log_std))
PARTS = np.asarray(jax.nn.softmax(MODEL.log_parts))
EXACT = Mixture(PARTS, np.asarray(MODEL.means), STDS[:, None, None] ** 2 * np.eye(2))
DATA = Mixture(
    np.asarray([0.2, 0.8]), np.asarray([[-1.5, 1.0], [1.0, 0.8]]), np.asarray([0.2 * np.eye(2), 0.5 * np.eye(2)])
).sample(jax.random.key(7), 300)
PROBLEM = EnergyData(DATA, EXACT, batch=40)
RUNS, STEPS = 2000, 12


def training(moves, negative, **options):
    # A rate at which the parameters follow these few walkers closely.
    return EnergyTraining(MODEL, optax.sgd(0.1), moves, negative, walkers=8, **options)


def many(method, runs=RUNS):
    def one(key):
        done = run(method, PROBLEM, steps=STEPS, key=key, throw=False)
        model, state = done.value.model, done.state.state
        cloud = state.referees
        ratio = jnp.exp(cloud.log_z - model.log_z)
        f = jax.nn.softmax(cloud.log_w) @ cloud.x - model.mean
        return ratio, ratio * f[0], jnp.exp(state.walkers.log_z - model.log_z)

    return [np.asarray(x, float) for x in eqx.filter_jit(jax.vmap(one))(jax.random.split(jax.random.key(1), runs))]


def assert_mean(draws, truth, max_stderr=0.03):
    assert_z(draws.mean(), truth, draws.std(ddof=1) / np.sqrt(len(draws)), max_stderr=max_stderr)


WAYS = {
    "all": (AllMove(0.15), JarzynskiWalkers(None)),
    "some-resampled": (SomeMove(0.15, batch=5, moves=2), JarzynskiWalkers(threshold=0.7)),
}


@pytest.mark.parametrize("way", WAYS)
def test_z_and_averages_are_unbiased_along_the_training(way):
    ratio, weighted, own = many(training(*WAYS[way], referees=12))
    assert_mean(ratio, 1.0)
    assert_mean(weighted, 0.0)
    # The twin: walkers that pull the parameters away from themselves find Z too small.
    assert own.mean() < 1
    with pytest.raises(AssertionError):
        assert_mean(own, 1.0)


class BackwardAtTheOld(AllMove):
    """The backward kernel at theta_k: any normalised kernel will do, this one too."""

    def langevin(self, old, new, x, *, key):
        y, log_w = super().langevin(old, old, x, key=key)
        return y, log_w + jax.vmap(new.log_prob)(y) - jax.vmap(old.log_prob)(y)


class InPlace(AllMove):
    """Both alphas at the new place, as when the walkers are overwritten before they are weighed."""

    def langevin(self, old, new, x, *, key):
        y, _ = super().langevin(old, new, x, key=key)
        alpha = lambda d, p: -d.log_prob(p) + 0.25 * self.step_size * jnp.sum(d.score(p) ** 2)  # noqa: E731
        return y, jax.vmap(lambda p: alpha(old, p) - alpha(new, p))(y)


class OtherNoise(AllMove):
    """Noise of half the width that the weights assume."""

    def langevin(self, old, new, x, *, key):
        h = self.step_size
        y = x + h * jax.vmap(old.score)(x) + jnp.sqrt(0.5 * h) * jax.random.normal(key, x.shape, x.dtype)

        def alpha(density, p, q):
            g = -density.score(p)
            return -density.log_prob(p) + 0.5 * (q - p) @ g + 0.25 * h * g @ g

        return y, jax.vmap(lambda p, q: alpha(old, p, q) - alpha(new, q, p))(x, y)


class OnlyTheMovers(SomeMove):
    """Those that stay are not weighed anew."""

    def __call__(self, old, new, x, *, key):
        y, log_w = super().__call__(old, new, x, key=key)
        return y, jnp.where((x == y).all(1), 0.0, log_w)


def replay(moves, n=20_000):
    """Weights over Z along parameters that are fixed beforehand; walkers are then independent."""
    last = TwoHills(jnp.asarray([-0.5, 0.8]), jnp.asarray([[-1.7, 1.2], [1.0, 0.4]]), jnp.asarray([0.1, -0.2]))
    between = lambda t: jax.tree.map(lambda a, b: (1 - t) * a + t * b, MODEL, last)  # noqa: E731

    @jax.jit
    def go(key):
        def onward(carry, k):
            x, log_w = carry
            old, new = (EnergyDensity(between(t / 10), (2,)) for t in (k, k + 1))
            x, more = moves(old, new, x, key=jax.random.fold_in(key, k))
            return (x, log_w + more), None

        (x, log_w), _ = jax.lax.scan(onward, (EXACT.sample(key, n), jnp.zeros(n)), jnp.arange(10))
        w = jnp.exp(log_w + MODEL.log_z - last.log_z)
        return w, w * (x[:, 1] - last.mean[1])

    return [np.asarray(v, float) for v in go(jax.random.key(5))]


SOME = {"batch": 6000, "moves": 2}


@pytest.mark.parametrize(
    ("moves", "exact"),
    [
        (AllMove(0.15), True),
        (SomeMove(0.15, **SOME), True),
        (BackwardAtTheOld(0.15), True),
        (InPlace(0.5), False),
        (OtherNoise(0.15), False),
        (OnlyTheMovers(0.15, **SOME), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_weights_along_a_fixed_path(moves, exact):
    w, weighted = replay(moves)
    if exact:
        assert_mean(w, 1.0)
        assert_mean(weighted, 0.0)
        return
    with pytest.raises(AssertionError, match="z = "):
        assert_mean(w, 1.0, np.inf)


def test_the_increments_are_those_of_the_equations(key):
    """alpha_k(x, y) of (13), (14), written out."""
    old = EnergyDensity(MODEL, (2,))
    new = EnergyDensity(eqx.tree_at(lambda m: m.means, MODEL, MODEL.means + 0.3), (2,))
    x = jnp.asarray([[0.3, -0.8]])
    y, log_w = AllMove(0.2)(old, new, x, key=key)

    def alpha(model, x, y):
        u, g = jax.value_and_grad(model)(x)
        return u + 0.5 * (y - x) @ g + 0.25 * 0.2 * g @ g

    np.testing.assert_allclose(log_w[0], alpha(old.model, x[0], y[0]) - alpha(new.model, y[0], x[0]), rtol=1e-4)
    # A batch of one that moves at the new parameters, and the others that stay.
    x = EXACT.sample(key, 4)
    y, log_w = SomeMove(0.2, batch=1)(old, new, x, key=key)
    moved = np.flatnonzero((np.asarray(x) != np.asarray(y)).any(1))
    assert len(moved) == 1
    shift = jax.vmap(old.model)(x) - jax.vmap(new.model)(x)
    i = moved[0]
    back = alpha(new.model, x[i], y[i]) - alpha(new.model, y[i], x[i])
    np.testing.assert_allclose(log_w, shift.at[i].add(back), rtol=1e-4, atol=1e-6)


def test_the_first_gradient_is_that_of_the_exact_cross_entropy(key):
    method = EnergyTraining(MODEL, optax.sgd(1.0), AllMove(0.05), walkers=20000)
    done = run(method, EnergyData(DATA, EXACT), steps=1, key=key)
    exact = jax.grad(lambda m: m.log_z + jnp.mean(jax.vmap(m)(DATA)))(MODEL)
    for a, b, g in zip(*(jax.tree.leaves(m) for m in (MODEL, done.value.model, exact)), strict=True):
        np.testing.assert_allclose(a - b, g, atol=0.04)
    np.testing.assert_allclose(done.info.log_z[0], MODEL.log_z, rtol=1e-5)
    np.testing.assert_allclose(done.info.cross_entropy[0], MODEL.log_z + jnp.mean(jax.vmap(MODEL)(DATA)), rtol=1e-5)
    assert float(done.info.ess[0]) == pytest.approx(20000, rel=1e-4)


def test_a_base_that_is_not_the_first_energy_is_corrected(key):
    base = Density(
        lambda x: Normal(jnp.asarray([0.2, 0.1]), 1.8).log_prob(x) + 0.7,
        (2,),
        jnp.asarray(0.7),
        lambda k, n: Normal(jnp.asarray([0.2, 0.1]), 1.8).sample(k, n),
    )
    method = EnergyTraining(MODEL, optax.sgd(0.0), AllMove(0.05), walkers=5000)
    done = run(method, EnergyData(DATA, base), steps=0, key=key)
    stderr = np.sqrt(1 / float(done.value.cloud.ess) - 1 / 5000)
    assert_z(float(done.value.log_z), float(MODEL.log_z), stderr, max_stderr=0.03)


class OneShare(eqx.Module):
    """Two far modes at fixed places; only the share of the second is learned."""

    z: jax.Array

    def __call__(self, x):
        near = lambda m: -0.5 * jnp.sum((x - jnp.asarray(m, x.dtype)) ** 2)  # noqa: E731
        return -jnp.logaddexp(near([-6.0, 1.0]), near([5.0, 0.0]) - self.z)


def mass(negative, key):
    places = np.asarray([[-6.0, 1.0], [5.0, 0.0]])
    data = Mixture(np.asarray([0.25, 0.75]), places, np.stack([np.eye(2)] * 2)).sample(jax.random.key(3), 400)
    base = Mixture(np.asarray([0.5, 0.5]), places, np.stack([np.eye(2)] * 2))
    method = EnergyTraining(OneShare(jnp.zeros(())), optax.sgd(0.125), AllMove(0.1), negative, walkers=400)
    done = run(method, EnergyData(data, base), steps=800, key=key)
    truth = float((data[:, 0] < 0).mean())
    z = done.value.model.z
    exact = np.log(2 * np.pi) + jnp.logaddexp(0.0, -z) + jnp.mean(jax.vmap(done.value.model)(data))
    return float(jax.nn.sigmoid(z)), truth, done, float(exact), data


def test_the_mass_of_a_far_mode_is_learned_with_weights_and_only_with_them(key):
    found, truth, done, exact, data = mass(JarzynskiWalkers(threshold=0.9), key)
    assert abs(found - truth) < 0.04
    assert abs(float(done.value.cross_entropy(data)) - exact) < 0.1
    assert 0 < int(done.info.resampled.sum()) < 100
    # Walkers that stay on the data see no difference; those of the base never see another.
    assert mass(Contrastive(4), key)[0] == pytest.approx(0.5, abs=0.02)
    assert mass(Persistent(), key)[0] < 0.01


def test_contrastive_walkers_return_to_the_data(key):
    method = training(AllMove(0.1), Contrastive(3))
    done = run(method, PROBLEM, steps=7, key=key)
    np.testing.assert_array_equal(done.info.resampled, [True, False, False, True, False, False, True])
    assert done.info.log_z is None
    with pytest.raises(InputError, match="know no log Z"):
        done.value.cross_entropy(DATA)
    # As many walkers as rows are all the rows.
    drawn = PROBLEM.draw(key, len(DATA))
    np.testing.assert_array_equal(np.sort(np.asarray(drawn), axis=0), np.sort(np.asarray(DATA), axis=0))
    first = run(training(AllMove(0.1), Contrastive(None)), PROBLEM, steps=0, key=key).value.cloud.x
    assert all((np.asarray(DATA) == row).all(1).any() for row in np.asarray(first))


def test_a_collapse_and_a_nan_are_reported(key):
    done = run(training(AllMove(1.0), JarzynskiWalkers(None)), PROBLEM, steps=12, key=key, throw=False)
    assert done.status == Status.weights_degenerate
    broken = eqx.tree_at(lambda p: p.data, PROBLEM, DATA * jnp.nan)
    done = run(training(AllMove(0.1), JarzynskiWalkers()), broken, steps=2, key=key, throw=False)
    assert done.status == Status.nonfinite
    np.testing.assert_array_equal(done.value.model.means, MODEL.means)


def test_bad_input_is_refused_in_one_line(key):
    cases = [
        (lambda: EnergyData(DATA[:0], EXACT), "N of at least 1"),
        (lambda: EnergyData(DATA[:, :1], EXACT), r"shape \(2,\), the data \(1,\)"),
        (lambda: EnergyData(DATA, Density(lambda x: -jnp.sum(x**2), (2,))), "no known log_z"),
        (lambda: EnergyData(DATA, EXACT, batch=301), "expected 1 to 300"),
        (lambda: AllMove(0.0), "more than 0"),
        (lambda: SomeMove(0.1, batch=0), "at least 1"),
        (lambda: JarzynskiWalkers(threshold=1.5), "between 0 and 1"),
        (lambda: Contrastive(0), "at least 1 step"),
        (lambda: EnergyTraining(MODEL, optax.sgd(0.1), AllMove(0.1), walkers=3), "at least 4"),
        (lambda: training(AllMove(0.1), Persistent(), referees=5), "has no weights"),
        (lambda: training(SomeMove(0.1, batch=9), JarzynskiWalkers()), "at most 8"),
        (lambda: EnergyTraining(jnp.sum, optax.sgd(0.1), AllMove(0.1)), "expected one with parameters"),
    ]
    for build, text in cases:
        with pytest.raises(InputError, match=text) as caught:
            build()
        assert "\n" not in str(caught.value)
    vector = eqx.nn.Linear(2, 2, key=key)
    with pytest.raises(InputError, match="single number"):
        run(EnergyTraining(vector, optax.sgd(0.1), AllMove(0.1)), PROBLEM, steps=1, key=key)
    unknown = Density(EXACT.log_prob, (2,), jnp.asarray(0.0))
    with pytest.raises(InputError, match="cannot be drawn from exactly"):
        run(training(AllMove(0.1), JarzynskiWalkers()), EnergyData(DATA, unknown), steps=1, key=key)
