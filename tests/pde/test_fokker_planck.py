"""The equation and its probability flow against each other, written in two ways; and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import AbstractCorrelated, AbstractProcess, Diffusion, InputError
from thalweg.pde import FokkerPlanck, advection, diffusing, linear_moments, velocity
from thalweg.pde.fokker_planck import noisy, spread, trace
from thalweg.problems import Normal
from thalweg.processes import OU

POINT = jnp.asarray([0.4, -0.7])


class Curved(AbstractProcess):
    """Noise and drift that depend on everything."""

    def drift(self, t, x):
        return jnp.stack([t - x[0] ** 3 + 0.5 * x[1], 0.3 * x[0] * x[1] - x[1]])

    def diffusion(self, t, x):
        return jnp.stack([1 + 0.3 * jnp.sin(x[0] + 2 * x[1]), 0.8 + 0.2 * x[1] ** 2 - 0.1 * x[0]])


class Mixed(AbstractCorrelated):
    """The same drift under noise that a matrix mixes."""

    def drift(self, t, x):
        return Curved().drift(t, x)

    def diffusion(self, t, x):
        return jnp.asarray([[1.0, 0.3, 0.0], [0.2, 0.5, 0.4]]) * (1 + 0.2 * x[0] ** 2 + 0.3 * jnp.sin(x[1]))


def rho(x):
    """A density that is neither centred nor isotropic nor Gaussian, not normalised."""
    return jnp.exp(-0.5 * (x[0] - 0.3) ** 2 - 0.2 * x[1] ** 4 + 0.3 * x[0] * x[1])


def tensor(process, t, x):
    g = process.diffusion(t, x)
    return 0.5 * (g @ g.T if isinstance(process, AbstractCorrelated) else jnp.diag(g**2))


def rate_in_itos_form(process, t, x):
    """-div(b rho) + sum_ij d_i d_j (D_ij rho), by nothing but derivatives."""
    flux = jax.jacfwd(lambda y: process.drift(t, y) * rho(y))(x)
    second = jax.hessian(lambda y: tensor(process, t, y) * rho(y))(x)
    return -jnp.trace(flux) + jnp.einsum("ijij->", second)


@pytest.mark.parametrize("process", [Curved(), Mixed()], ids=lambda p: type(p).__name__)
def test_the_flow_moves_the_density_as_the_diffusion_does(process, x64):
    score = jax.grad(lambda y: jnp.log(rho(y)))

    @jax.jit
    def rates(t, x):
        rate = lambda v: -jnp.trace(jax.jacfwd(lambda y: rho(y) * v(y))(x))  # noqa: E731
        flow = rate(lambda y: velocity(process, t, y, score(y)))
        # The twin: the drift as it stands, without div D.
        twin = rate(lambda y: process.drift(t, y) - spread(process, t, y, score(y)))
        return rate_in_itos_form(process, t, x), flow, twin

    truth, flow, careless = rates(jnp.asarray(0.6), jnp.asarray(POINT, float))
    np.testing.assert_allclose(flow, truth, rtol=1e-10)
    assert abs(float(careless - truth)) > 0.1 * abs(float(truth))


def test_d_and_its_trace_are_those_of_the_matrix():
    t, s = jnp.asarray(0.6), jnp.asarray([1.2, -0.4])
    for process in (Curved(), Mixed()):
        D = tensor(process, t, POINT)
        np.testing.assert_allclose(spread(process, t, POINT, s), D @ s, rtol=1e-5)
        np.testing.assert_allclose(trace(process, t, POINT), jnp.trace(D), rtol=1e-5)
    still = OU(1.0, 0.0, jnp.asarray([0.5, 0.0]))
    np.testing.assert_array_equal(noisy(still, t, POINT), [1.0, 0.0])
    np.testing.assert_allclose(advection(still, t, POINT), -POINT)
    np.testing.assert_allclose(trace(OU(1.0, 0.0, 0.5), t, POINT), 0.25, rtol=1e-6)


def test_a_constant_d_as_a_number_a_vector_and_a_matrix():
    drift, s, t = (lambda t, x: -x), jnp.asarray([1.2, -0.4]), jnp.zeros(())
    matrix = jnp.asarray([[0.5, 0.2], [0.2, 0.3]])
    for D, want in ((0.3, 0.3 * s), (jnp.asarray([0.3, 0.0]), jnp.asarray([0.36, 0.0])), (matrix, matrix @ s)):
        process = diffusing(drift, D)
        np.testing.assert_allclose(spread(process, t, POINT, s), want, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(advection(process, t, POINT), -POINT)
    # A singular matrix is a D, too.
    np.testing.assert_allclose(spread(diffusing(drift, jnp.ones((2, 2))), t, POINT, s), [0.8, 0.8], rtol=1e-5)


def test_moments_of_a_linear_drift():
    theta, mu, sigma, t = np.asarray([1.0, 0.6]), np.asarray([0.3, -0.2]), np.asarray([0.8, 0.5]), 0.7
    m0, v0 = np.asarray([0.9, -0.6]), np.asarray([0.35, 0.3]) ** 2
    mean, covariance = linear_moments(-np.diag(theta), theta * mu, np.diag(sigma**2) / 2, m0, np.diag(v0), t)
    decay = np.exp(-theta * t)
    np.testing.assert_allclose(mean, mu + decay * (m0 - mu), rtol=1e-12)
    want = decay**2 * v0 + sigma**2 * (1 - decay**2) / (2 * theta)
    np.testing.assert_allclose(covariance, np.diag(want), rtol=1e-12, atol=1e-14)
    # Rotating, and with a direction that nothing pulls back: two half steps are one step.
    A, c, D = np.asarray([[-1.0, 2.0], [-0.5, 0.5]]), np.asarray([0.2, 0.1]), np.asarray([[0.4, 0.1], [0.1, 0.2]])
    half = linear_moments(A, c, D, m0, np.diag(v0), t / 2)
    for a, b in zip(linear_moments(A, c, D, *half, t / 2), linear_moments(A, c, D, m0, np.diag(v0), t), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    h = 1e-6
    _, later = linear_moments(A, c, D, m0, np.diag(v0), h)
    np.testing.assert_allclose((later - np.diag(v0)) / h, A * v0 + (A * v0).T + 2 * D, rtol=1e-4)


def test_what_is_refused():
    start, ts = Normal(jnp.zeros(2)), jnp.linspace(0, 1, 5)
    for bad, told in (
        (-0.1, "at least 0"),
        (jnp.asarray([0.3, -0.1]), "at least 0"),
        (jnp.asarray([[0.5, 0.9], [0.9, 0.3]]), "eigenvalue -0.5"),
        (jnp.asarray([[0.5, 0.2], [0.1, 0.3]]), "not symmetric"),
        (jnp.asarray([jnp.nan, 0.1]), "finite"),
    ):
        with pytest.raises(InputError, match=told):
            diffusing(lambda t, x: -x, bad)
    with pytest.raises(InputError, match="rising"):
        FokkerPlanck(OU(), start, ts[::-1])
    with pytest.raises(InputError, match="at least 2 times"):
        FokkerPlanck(OU(), start, ts[:1])
    with pytest.raises(InputError, match="drift of a point"):
        FokkerPlanck(Diffusion(lambda t, x: x[:1], lambda t, x: 1.0), start, ts)
    with pytest.raises(InputError, match="diffusion of a point"):
        FokkerPlanck(Diffusion(lambda t, x: x, lambda t, x: jnp.ones(3)), start, ts)
    with pytest.raises(InputError, match="diffusion of a point"):
        FokkerPlanck(eqx.tree_at(lambda p: p.root, diffusing(lambda t, x: -x, jnp.eye(2)), jnp.eye(3)), start, ts)
    with pytest.raises(InputError, match="known"):
        jax.jit(lambda D: diffusing(lambda t, x: -x, D).diffusion(0.0, POINT))(0.3)
    assert FokkerPlanck(OU(), start, ts).steps == 4
    assert FokkerPlanck(OU(), start, ts).along(jnp.zeros((3, 2))).steps == 4
