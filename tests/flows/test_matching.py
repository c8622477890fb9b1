"""Regression: the exact fields are where the losses' gradients vanish, and flipped ones are not."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from tests.stats import assert_z
from thalweg.core import Denoiser, InputError, Score, Velocity
from thalweg.flows import (
    Brownian,
    EncodingDecoding,
    Fields,
    Linear,
    Matching,
    MinibatchOT,
    Mirror,
    OneSided,
    Pair,
    Split,
    Trigonometric,
    Uniform,
    sample_location_and_target,
)
from thalweg.problems import MixtureInterpolant, gaussian

BASE = gaussian(np.array([0.4, -1.0]), np.array([[0.9, 0.3], [0.3, 0.5]]))
TARGET = gaussian(np.array([-0.5, 1.3]), np.array([[0.4, -0.1], [-0.1, 1.1]]))
NOISE = gaussian(np.zeros(2), np.eye(2))


class Tilted(eqx.Module):
    """An exact field plus a perturbation of weight w: at w = 0 the loss must be stationary."""

    w: Float[Array, ""]
    field: eqx.Module
    sign: float = 1.0

    def __call__(self, t, x, c=None):
        return self.sign * self.field(t, x) + self.w * (x + jnp.stack([jnp.sin(x[1] + t), x[0] * jnp.cos(2 * t)]))


def slopes(kind, path, base, sign, key, n=256, batches=200):
    """The gradient of the loss in w at w = 0, in independent batches."""
    exact = MixtureInterpolant(base, TARGET, path)
    fields = {"velocity": exact.velocity, "split": exact.split, "score": exact.score, "denoiser": exact.denoiser}
    if isinstance(path, OneSided):  # the noise is x0: eta = -alpha s
        fields["denoiser"] = Denoiser(lambda t, x: -path.alpha(t) * exact.score(t, x))
    wrap = {"velocity": Velocity, "split": Split, "score": Score, "denoiser": Denoiser}[kind]
    objective = Matching(path, Uniform(0.02, 0.98))

    def one(k):
        a, b, d = jax.random.split(k, 3)
        batch = Pair(base.sample(a, n), TARGET.sample(b, n))
        loss = lambda w: objective(Fields(**{kind: wrap(Tilted(w, fields[kind].fn, sign))}), batch, key=d)  # noqa: E731
        return jax.grad(loss)(jnp.asarray(0.0))

    return np.asarray(jax.jit(lambda ks: jax.lax.map(one, ks))(jax.random.split(key, batches)), np.float64)


CASES = [
    ("velocity", Linear(), BASE),
    ("velocity", Linear(Brownian()), BASE),
    ("velocity", EncodingDecoding(), BASE),
    ("split", Linear(Brownian(0.7)), BASE),
    ("denoiser", Trigonometric(Brownian(0.5)), BASE),
    ("score", Linear(Brownian()), BASE),
    ("velocity", OneSided(Linear()), NOISE),
    ("denoiser", OneSided(Trigonometric()), NOISE),
    ("score", OneSided(Linear()), NOISE),
]


@pytest.mark.parametrize(
    ("kind", "path", "base"), CASES, ids=[f"{k}-{type(p).__name__}-{i}" for i, (k, p, _) in enumerate(CASES)]
)
def test_the_exact_field_is_stationary_and_its_negative_is_not(kind, path, base, key):
    found = slopes(kind, path, base, 1.0, key)
    error = found.std() / len(found) ** 0.5
    assert_z(found.mean(), 0.0, error, max_stderr=0.02)
    flipped = slopes(kind, path, base, -1.0, key)
    with pytest.raises(AssertionError):
        assert_z(flipped.mean(), 0.0, flipped.std() / len(flipped) ** 0.5)


def test_the_antithetic_pair_keeps_the_variance_finite_at_the_ends(key):
    path = Linear(Brownian())
    exact = MixtureInterpolant(BASE, TARGET, path)
    batch = Pair(BASE.sample(key, 512), TARGET.sample(jax.random.fold_in(key, 1), 512))
    model = Fields(velocity=exact.velocity)
    keys = jax.random.split(key, 50)

    def spread(objective):
        return float(jnp.std(jax.vmap(lambda k: objective(model, batch, key=k))(keys)))

    end = Uniform(1e-6, 2e-6)
    # A single draw of z has gamma' z of size 1/(2 sqrt t) = 500 here; the pair cancels it.
    assert spread(Matching(path, end)) < 1.0
    frames = jax.vmap(path.frame)(jnp.full(512, 1.5e-6), batch.x0, batch.x1)
    assert float(frames.gamma_dot[0]) > 300


def test_a_mirror_path_ignores_x0(key):
    batch = Pair(jnp.full((16, 2), 9.0), TARGET.sample(key, 16))
    other = Pair(jnp.zeros((16, 2)), batch.x1)
    model = Fields(denoiser=Denoiser(lambda t, x, c=None: jnp.tanh(x)))
    losses = [Matching(Mirror())(model, b, key=key) for b in (batch, other)]
    assert losses[0] == losses[1]


def test_the_thin_door(key):
    x0, x1 = BASE.sample(key, 64), TARGET.sample(jax.random.fold_in(key, 1), 64)
    t, x, u = sample_location_and_target(Linear(), x0, x1, key=key)
    np.testing.assert_allclose(x, (1 - t[:, None]) * x0 + t[:, None] * x1, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(u, x1 - x0, rtol=1e-5, atol=1e-6)
    _, _, paired = sample_location_and_target(Linear(), x0, x1, key=key, coupling=MinibatchOT())
    assert float(jnp.sum(paired**2)) < float(jnp.sum(u**2))
    _, noisy, _ = sample_location_and_target(Linear(Brownian()), x0, x1, key=key)
    assert not np.allclose(noisy, x)
    with pytest.raises(InputError, match=r"x0 has shape \(64, 2\) and x1 \(63, 2\)"):
        sample_location_and_target(Linear(), x0, x1[:63], key=key)


def test_what_cannot_be_learned(key):
    batch = Pair(BASE.sample(key, 8), TARGET.sample(key, 8))
    field = lambda t, x, c=None: x  # noqa: E731
    with pytest.raises(InputError, match=r"nothing to learn"):
        Fields()
    with pytest.raises(InputError, match=r"this one has gamma = 0"):
        Matching(Linear())(Fields(denoiser=Denoiser(field)), batch, key=key)
    with pytest.raises(InputError, match=r"belongs to two-sided paths"):
        Matching(OneSided(Linear()))(Fields(split=Split(field)), batch, key=key)
