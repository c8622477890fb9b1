"""Conversions: exact where they are true, refused where they are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.flows import (
    Brownian,
    DiffusionPath,
    Independent,
    Linear,
    MinibatchOT,
    OneSided,
    SineSquared,
    Split,
    Trigonometric,
    denoiser_from_score,
    denoiser_from_velocity,
    score_from_denoiser,
    score_from_velocity,
    velocity_from_denoiser,
    velocity_from_split,
)
from thalweg.problems import MixtureInterpolant, gaussian, two_modes
from thalweg.processes import VP

NOISE = gaussian(np.array([0.0, 0.0]), np.array([[1.0, 0.0], [0.0, 1.0]]))
POINTS = jnp.asarray([[0.3, -1.0], [2.0, 0.4], [-1.5, 1.2]])
TIMES = [0.15, 0.5, 0.83]
ONE_SIDED = [OneSided(Linear()), OneSided(Trigonometric()), DiffusionPath(VP())]


def evaluate(field, t):
    return jax.vmap(lambda x: field(jnp.asarray(t), x))(POINTS)


@pytest.mark.parametrize("path", ONE_SIDED, ids=lambda p: type(getattr(p, "path", getattr(p, "process", p))).__name__)
def test_one_sided_fields_follow_from_one_another(path):
    exact = MixtureInterpolant(NOISE, two_modes(), path)
    velocity, score = exact.velocity, exact.score
    for t in TIMES:
        level = path.alpha(jnp.asarray(t))
        np.testing.assert_allclose(
            evaluate(score_from_velocity(velocity, path, Independent()), t), evaluate(score, t), rtol=2e-3, atol=2e-3
        )
        eta = denoiser_from_velocity(velocity, path, Independent())
        np.testing.assert_allclose(evaluate(eta, t), -level * evaluate(score, t), rtol=2e-3, atol=2e-3)
        back = velocity_from_denoiser(eta, path, Independent())
        np.testing.assert_allclose(evaluate(back, t), evaluate(velocity, t), rtol=5e-3, atol=5e-3)
        again = denoiser_from_score(score, path, Independent())
        np.testing.assert_allclose(evaluate(again, t), -level * evaluate(score, t), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("latent", [Brownian(0.8), SineSquared()], ids=str)
def test_two_sided_fields(latent):
    path = Linear(latent)
    exact = MixtureInterpolant(gaussian(np.array([1.0, 0.5]), np.array([[0.5, 0.1], [0.1, 1.5]])), two_modes(), path)
    for t in TIMES:
        s = score_from_denoiser(exact.denoiser, path, MinibatchOT())
        np.testing.assert_allclose(evaluate(s, t), evaluate(exact.score, t), rtol=2e-3, atol=2e-3)
        b = velocity_from_split(Split(exact.split.fn), exact.score, path)
        np.testing.assert_allclose(evaluate(b, t), evaluate(exact.velocity, t), rtol=2e-3, atol=2e-3)


def test_the_typo_of_the_paper_is_not_followed():
    path = Linear(Brownian(0.8))
    exact = MixtureInterpolant(NOISE, two_modes(), path)
    t = jnp.asarray(0.4)
    gamma = jnp.sqrt(path.gamma2(t))
    wrong = -evaluate(exact.score, 0.4) / gamma  # "eta = -s / gamma"
    right = evaluate(denoiser_from_score(exact.score, path, Independent()), 0.4)
    np.testing.assert_allclose(right, evaluate(exact.denoiser, 0.4), rtol=1e-4, atol=1e-5)
    assert not np.allclose(wrong, right, rtol=0.05)


def test_false_conversions_are_refused():
    exact = MixtureInterpolant(NOISE, two_modes(), Linear(Brownian()))
    with pytest.raises(Exception, match=r"not one-sided|OneSided|path"):
        score_from_velocity(exact.velocity, Linear(), Independent())
    with pytest.raises(Exception, match=r"makes x0 depend on x1|coupling"):
        score_from_velocity(exact.velocity, OneSided(Linear()), MinibatchOT())
    with pytest.raises(InputError, match=r"MinibatchOT makes x0 depend on x1"):
        score_from_denoiser(exact.denoiser, OneSided(Linear()), MinibatchOT())
    with pytest.raises(InputError, match=r"belongs to two-sided paths"):
        velocity_from_split(Split(exact.split.fn), exact.score, OneSided(Linear()))


def test_they_are_finite_at_the_ends():
    path = OneSided(Linear())
    exact = MixtureInterpolant(NOISE, two_modes(), path)
    for t in (0.0, 1.0):
        for field in (
            score_from_velocity(exact.velocity, path, Independent()),
            velocity_from_denoiser(denoiser_from_velocity(exact.velocity, path, Independent()), path, Independent()),
        ):
            assert np.isfinite(evaluate(field, t)).all()
