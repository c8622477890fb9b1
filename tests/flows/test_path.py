"""Paths: their ends, their rates, and the refusals of what is not a path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.flows import (
    Brownian,
    Custom,
    DiffusionPath,
    EncodingDecoding,
    Linear,
    Mirror,
    NoLatent,
    OneSided,
    Quadratic,
    Trigonometric,
    rate,
)
from thalweg.processes import VE, VP, SubVP

TWO_SIDED = [Linear(), Linear(Brownian()), Trigonometric(), Trigonometric(Brownian(0.5)), EncodingDecoding()]
X0, X1 = jnp.asarray([1.0, -2.0, 0.5]), jnp.asarray([4.0, 1.0, -3.0])


@pytest.mark.parametrize("path", [*TWO_SIDED, OneSided(Linear()), OneSided(Trigonometric())], ids=str)
def test_paths_start_at_x0_and_end_at_x1(path):
    for t, end in ((0.0, X0), (1.0, X1)):
        t = jnp.asarray(t)
        np.testing.assert_allclose(path.mean(t, X0, X1), end, atol=1e-5)
        np.testing.assert_allclose(path.gamma2(t), 0, atol=1e-9)


@pytest.mark.parametrize("path", [*TWO_SIDED, Mirror(), Linear(Quadratic())], ids=str)
@pytest.mark.parametrize("t", [0.2, 0.61, 0.9])
def test_rates_are_those_of_finite_differences(path, t):
    h = 1e-3
    frame = path.frame(jnp.asarray(t), X0, X1)
    ahead, behind = (path.frame(jnp.asarray(t + s), X0, X1) for s in (h, -h))
    np.testing.assert_allclose(frame.mean_dot, (ahead.mean - behind.mean) / (2 * h), atol=2e-3)
    np.testing.assert_allclose(frame.gamma_dot, (ahead.gamma - behind.gamma) / (2 * h), atol=2e-3)


def test_trigonometric_keeps_unit_variance():
    path = Trigonometric(Brownian(0.7))
    for t in jnp.linspace(0.05, 0.95, 7):
        np.testing.assert_allclose(path.alpha(t) ** 2 + path.beta(t) ** 2 + path.gamma2(t), 1, rtol=1e-5)


@pytest.mark.parametrize("process", [VP(), SubVP(), VE()], ids=lambda p: type(p).__name__)
def test_a_diffusion_read_backwards(process):
    path, t = DiffusionPath(process), jnp.asarray(0.3)
    np.testing.assert_allclose(path.alpha(t), process.std(jnp.asarray(0.7)), rtol=1e-6)
    np.testing.assert_allclose(path.beta(t), process.scale(jnp.asarray(0.7)), rtol=1e-6)
    # The smallest time, 1e-5, leaves a deviation of at most 1e-3 (VP) or 1e-4 of the largest (VE).
    np.testing.assert_allclose(path.mean(jnp.asarray(1.0), X0, X1), X1, atol=5e-3)
    # The other direction of time would put the data at t = 0.
    assert not np.allclose(path.mean(jnp.asarray(0.0), X0, X1), X1, atol=0.5)


def test_rate_of_a_schedule():
    np.testing.assert_allclose(rate(jnp.sin, jnp.asarray(0.4)), np.cos(0.4), rtol=1e-6)


def test_frames_under_vmap_and_jit():
    t = jnp.linspace(0.1, 0.9, 5)
    frames = jax.jit(jax.vmap(Linear(Brownian()).frame, (0, None, None)))(t, X0, X1)
    assert frames.mean.shape == (5, 3)
    assert frames.gamma.shape == (5,)


def test_what_is_not_a_path():
    with pytest.raises(InputError, match=r"alpha\(0\) is 0.5; expected 1"):
        Custom(lambda t: 0.5 - t, lambda t: t)
    with pytest.raises(InputError, match=r"gamma\^2 reaches 1.25; expected at most 1"):
        Trigonometric(Brownian(5.0))
    with pytest.raises(InputError, match=r"does not move"):
        Mirror(NoLatent())
    for path in (Linear(Brownian()), EncodingDecoding(), Mirror()):
        with pytest.raises(InputError, match=r"latent noise of its own"):
            OneSided(path)
