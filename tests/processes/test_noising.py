"""VP, VE and sub-VP against their own equations, the paper's formulas, and a reversed run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import Diffusion, InputError
from thalweg.processes import ODE, VE, VP, EulerMaruyama, StochasticHeun, SubVP, simulate

CASES = [VP(0.3, 7.0), SubVP(0.3, 7.0), VE(0.2, 9.0)]
each = pytest.mark.parametrize("process", CASES, ids=lambda p: type(p).__name__)


def moment_rates(process, t):
    """d/dt of log scale and of the variance, from drift and diffusion alone."""
    rate = jax.grad(lambda x: process.drift(t, x))(1.0)
    return rate, 2 * rate * process.std(t) ** 2 + process.diffusion(t, jnp.ones(())) ** 2


@each
def test_scale_and_std_solve_the_moment_equations(x64, process):
    process = jax.tree.map(lambda x: jnp.asarray(np.round(float(x), 6)), process)
    for t in (0.01, 0.37, 1.0):
        rate, growth = moment_rates(process, t)
        np.testing.assert_allclose(jax.grad(lambda t: jnp.log(process.scale(t)))(t), rate, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(jax.grad(lambda t: process.std(t) ** 2)(t), growth, rtol=1e-11)


@each
def test_transitions_compose_and_start_from_nothing(x64, process):
    assert (float(process.scale(0.0)), float(process.std(0.0)), float(process.shift(0.7))) == (1.0, 0.0, 0.0)
    (a, _, b), (f, _, g) = process.between(0.0, 0.4), process.between(0.4, 0.9)
    np.testing.assert_allclose(process.scale(0.9), a * f, rtol=1e-12)
    np.testing.assert_allclose(process.std(0.9) ** 2, (f * b) ** 2 + g**2, rtol=1e-12)


def test_the_papers_formulas():
    s, b0, b1 = 0.63, 0.1, 20.0
    m = np.exp(-(s**2) * (b1 - b0) / 4 - s * b0 / 2)
    np.testing.assert_allclose(VP().scale(s), m, rtol=1e-5)
    np.testing.assert_allclose(VP().std(s), np.sqrt(1 - m**2), rtol=1e-5)
    np.testing.assert_allclose(SubVP().std(s), 1 - m**2, rtol=1e-5)
    sigma = 0.01 * 5000**s
    np.testing.assert_allclose(VE().sigma(s), sigma, rtol=1e-5)
    # The exact law leaves out the noise that the paper counts as the data's.
    np.testing.assert_allclose(VE().std(s), np.sqrt(sigma**2 - 0.01**2), rtol=1e-5)


def test_short_transitions_keep_their_noise_in_single_precision():
    for process in CASES:
        s, h = 0.5, 1e-5
        g = float(process.diffusion(s, jnp.ones(())))
        np.testing.assert_allclose(process.between(s, s + h)[2], g * np.sqrt(h), rtol=5e-3)


def assert_law(x, x0, process, t=0.3):
    mean, var = float(process.scale(t)) * x0, float(process.std(t)) ** 2
    n = x.shape[0]
    assert_z([*x.mean(0), *x.var(0)], [*mean, var, var], np.sqrt([var / n] * 2 + [2 * var**2 / n] * 2))


@each
def test_simulation_has_the_exact_moments(key, process):
    x0 = np.array([0.9, -0.4])
    ts = jnp.linspace(0, 0.3, 101)
    x = simulate(process, jnp.tile(x0, (6000, 1)), ts, method=StochasticHeun(), key=key).value
    assert_law(x, x0, process)
    # The twin: beta (or both sigmas) a quarter too large.
    with pytest.raises(AssertionError):
        assert_law(x, x0, jax.tree.map(lambda p: p * 1.25, process))


def gaussian_score(s, x, var=0.25):
    return -x / (VP().scale(s) ** 2 * var + VP().std(s) ** 2)


@pytest.mark.parametrize(("steps", "expected"), [(50, 0.24593), (100, 0.24791)])
def test_the_probability_flow_run_backward_has_the_variance_of_the_recursion(steps, expected):
    flow = ODE(lambda s, x: VP().drift(s, x) - VP().diffusion(s, x) ** 2 * gaussian_score(s, x) / 2)
    x = simulate(flow, jnp.ones((1, 1)), jnp.linspace(1, 1e-3, steps + 1)).value
    np.testing.assert_allclose(x[0, 0] ** 2, expected, rtol=1e-4)


def reversed_variance(key, sign):
    n = 20000
    drift = lambda s, x: VP().drift(s, x) - sign * VP().diffusion(s, x) ** 2 * gaussian_score(s, x)  # noqa: E731
    process = Diffusion(drift, VP().diffusion)
    x0 = jax.random.normal(key, (n, 1))
    x = simulate(process, x0, jnp.linspace(1, 1e-3, 51), method=EulerMaruyama(), key=key, throw=False).value
    return np.nan_to_num(np.asarray(x, np.float64).var(), posinf=1e9), 0.25826 * np.sqrt(2 / n)


def test_the_reversed_sde_run_backward_has_the_variance_of_the_recursion(key):
    var, stderr = reversed_variance(key, 1.0)
    assert_z(var, 0.25826, stderr)
    var, stderr = reversed_variance(key, -1.0)
    with pytest.raises(AssertionError):
        assert_z(var, 0.25826, stderr)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: VE(2.0, 1.0), r"VE\(sigma_min=2, sigma_max=1\): expected sigma_min < sigma_max"),
        (lambda: VE(0.0, 1.0), r"VE\(sigma_min=0\): expected more than 0"),
        (lambda: VP(-0.1, 1.0), r"VP\(beta0=-0.1\): expected at least 0"),
        (lambda: SubVP(0.0, 0.0), "expected some noise"),
    ],
)
def test_bad_parameters_are_refused(build, text):
    with pytest.raises(InputError, match=text):
        build()
