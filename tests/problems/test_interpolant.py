"""The exact fields move and describe the exact density."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import Denoiser, InputError, Score, Velocity, load, save
from thalweg.core.types import Scalar
from thalweg.problems import Mixture, MixtureInterpolant, eight_modes, gaussian, three_from_two, two_modes


class Bridge(eqx.Module):
    """Linear, with gamma^2 = a t (1 - t)."""

    a: float = 1.0

    def alpha(self, t) -> Scalar:
        return 1 - t

    def beta(self, t) -> Scalar:
        return t

    def gamma2(self, t) -> Scalar:
        return self.a * t * (1 - t)


class Turn(Bridge):
    """A quarter turn, with gamma^2 = a sin^2(pi t), narrower on its way."""

    a: float = 0.3

    def alpha(self, t) -> Scalar:
        return jnp.cos(jnp.pi * t / 2) * jnp.sqrt(1 - self.gamma2(t))

    def beta(self, t) -> Scalar:
        return jnp.sin(jnp.pi * t / 2) * jnp.sqrt(1 - self.gamma2(t))

    def gamma2(self, t) -> Scalar:
        return self.a * jnp.sin(jnp.pi * t) ** 2


PATHS = {"bridge": Bridge(), "line": Bridge(0.0), "turn": Turn()}


def case(path, one_dimensional=False):
    base, target = three_from_two() if one_dimensional else (two_modes(), eight_modes())
    return MixtureInterpolant(base, target, PATHS[path])


def residuals(exact, t, x):
    """d/dt log rho + div b + b . grad log rho, relative to its terms, for the velocity and for two wrong ones."""
    dt, pull = jax.grad(exact.log_prob, argnums=(0, 1))(t, x)

    def of(field):
        div = jnp.trace(jax.jacfwd(field)(x))
        return (dt + div + field(x) @ pull) / (1 + jnp.abs(dt) + jnp.abs(div))

    fields = (exact.velocity, lambda t, x: -exact.velocity(t, x), exact.split)
    return [of(partial(b, t)) for b in fields]


@pytest.mark.parametrize(("path", "dims"), [("bridge", 2), ("line", 2), ("turn", 2), ("bridge", 1)])
def test_the_velocity_obeys_the_continuity_equation(path, dims, x64, key):
    exact = case(path, dims == 1)
    t = jax.random.uniform(key, (20,), minval=0.05, maxval=0.95)
    x = jax.jit(jax.vmap(lambda t, k: exact.sample(t, k, 1)[0]))(t, jax.random.split(key, 20))
    right, flipped, split = jax.jit(jax.vmap(lambda t, x: residuals(exact, t, x)))(t, x)
    np.testing.assert_allclose(right, 0, atol=1e-10)
    # Twins: a flipped sign, and the split velocity wherever there is noise, leave a remainder.
    assert float(jnp.max(jnp.abs(flipped))) > 0.1
    assert (float(jnp.max(jnp.abs(split))) > 1e-3) == (path != "line")


@pytest.mark.parametrize("path", ["line", "turn"])
def test_score_denoiser_and_split_follow_from_the_density(path, x64, key):
    exact = case(path)

    @jax.jit
    def everything(t, x):
        slope = jax.grad(exact.log_prob, argnums=1)(t, x)
        gamma = jax.value_and_grad(exact.path.gamma2)(t)
        fields = [f(t, x) for f in (exact.score, exact.denoiser, exact.split, exact.velocity)]
        return slope, exact.marginal(t).score(x), gamma, fields

    score, again, (gamma2, slope), found = everything(0.37, jnp.asarray([0.8, -0.3]))
    np.testing.assert_allclose(found[0], score, rtol=1e-9)
    np.testing.assert_allclose(again, score, rtol=1e-9)
    np.testing.assert_allclose(found[1], -jnp.sqrt(gamma2) * score, rtol=1e-9)
    np.testing.assert_allclose(found[2], found[3] + 0.5 * slope * score, rtol=1e-9)


def test_fields_are_the_conditional_means(key):
    """For any test function h, E[h(x_t) field(x_t)] = E[h(x_t) quantity]: no density is used."""
    exact, n, t = case("bridge"), 200_000, 0.35
    keys = jax.random.split(key, 3)
    x0, x1 = exact.base.sample(keys[0], n), exact.target.sample(keys[1], n)
    z = jax.random.normal(keys[2], x0.shape)
    gamma2, slope = jax.value_and_grad(exact.path.gamma2)(t)
    gamma = jnp.sqrt(gamma2)
    x = (1 - t) * x0 + t * x1 + gamma * z
    dx = x1 - x0 + 0.5 * slope / gamma * z
    h = jnp.sin(x @ jnp.asarray([0.7, -0.4]) + 0.3)[:, None]
    for field, quantity in ((exact.velocity, dx), (exact.split, x1 - x0), (exact.denoiser, z)):
        difference = np.asarray(h * (jax.jit(jax.vmap(field, (None, 0)))(t, x) - quantity), np.float64)
        assert_z(difference.mean(0), 0.0, difference.std(0) / n**0.5, max_stderr=0.02)


def test_both_ends(x64):
    exact, x = case("bridge"), jnp.asarray([0.8, -0.3])

    @jax.jit
    def everything(t):
        fields = (exact.velocity, exact.score, exact.denoiser, exact.split)
        return exact.log_prob(t, x), jnp.stack([f(t, x) for f in fields])

    for t, end in ((0.0, exact.base), (1.0, exact.target)):
        log_prob, fields = everything(t)
        np.testing.assert_allclose(log_prob, end.log_prob(x), rtol=1e-9)
        assert bool(jnp.all(jnp.isfinite(fields)))  # though the slope of gamma is infinite here
    # At t = 0 the point is x_0 itself, so the split velocity is E[x_1] - x.
    np.testing.assert_allclose(everything(0.0)[1][3], exact.target.mean - x, rtol=1e-9)


def test_shifting_and_turning_the_problem_shifts_and_turns_the_fields(x64):
    exact = case("bridge")
    q, shift = jnp.asarray([[0.6, -0.8], [0.8, 0.6]]), jnp.asarray([2.0, -1.0])

    def move(m):
        return Mixture(m.weights, m.means @ q.T + shift, jnp.einsum("ai,mij,bj->mab", q, m.covs, q))

    moved = MixtureInterpolant(move(exact.base), move(exact.target), exact.path)
    t, x = 0.6, jnp.asarray([0.5, 0.9])
    # alpha + beta = 1 on this path, so the shift stays what it is.
    np.testing.assert_allclose(moved.velocity(t, q @ x + shift), q @ exact.velocity(t, x), rtol=1e-9)
    np.testing.assert_allclose(moved.score(t, q @ x + shift), q @ exact.score(t, x), rtol=1e-9)


def test_meanings_saving_and_precision(tmp_path):
    base, target = two_modes(), eight_modes()
    exact = MixtureInterpolant(base, target, Bridge())
    assert isinstance(exact.velocity, Velocity)
    assert isinstance(exact.score, Score)
    assert isinstance(exact.denoiser, Denoiser)
    x = jnp.asarray([0.8, -0.3], jnp.float32)
    assert jax.eval_shape(exact.velocity, 0.4, x).dtype == jnp.float32
    save(tmp_path / "m", exact.velocity.fn.interpolant.marginal(0.4))
    np.testing.assert_allclose(load(tmp_path / "m")[0].log_prob(x), exact.log_prob(0.4, x), rtol=1e-5)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="expected one"):
        MixtureInterpolant(two_modes(), gaussian(jnp.zeros(3), jnp.eye(3)), Bridge())
    with pytest.raises(InputError, match="no alpha, beta, gamma2"):
        MixtureInterpolant(two_modes(), eight_modes(), object())
