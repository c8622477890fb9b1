"""Stochastic methods: strong and weak orders, correlated noise, and what they refuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_slope, assert_z
from thalweg.core import AbstractCorrelated, Diffusion, InputError
from thalweg.processes import (
    OU,
    SRA1,
    EulerMaruyama,
    ExactTransition,
    GeometricBrownian,
    InterpolantHeun,
    Milstein,
    OverdampedLangevin,
    StochasticHeun,
    simulate,
)
from thalweg.processes.problem import increment

# --- strong order on geometric Brownian motion, whose solution needs only the end of the Brownian path --------------


@eqx.filter_jit
def strong_error(method, count, key, sign):
    """Root mean square error at time 1 after `count` steps; a loop of unknown length, compiled once."""
    mu, sigma, h, x0 = 0.3, 0.5, 1.0 / count, jnp.full((3000, 1), 1.3)
    process = GeometricBrownian(mu, sigma)

    def body(k, carry):
        x, w = carry
        step_key = jax.random.fold_in(key, k)
        # The increment that the method draws from this key, drawn again.
        return method.advance(process, k * h, h, x, key=step_key), w + increment(step_key, h, x)

    x, w = jax.lax.fori_loop(0, count, body, (x0, jnp.zeros_like(x0)))
    exact = x0 * jnp.exp((mu - sigma**2 / 2) + sign * sigma * w)
    return jnp.sqrt(jnp.mean((x - exact) ** 2))


COUNTS = jnp.array([8, 16, 32, 64, 128])


@pytest.mark.parametrize(
    ("method", "order"),
    [(EulerMaruyama(), 0.5), (Milstein(), 1.0), (StochasticHeun(), 1.0)],
    ids=["EulerMaruyama", "Milstein", "StochasticHeun"],
)
def test_strong_order_for_diagonal_noise(x64, key, method, order):
    assert_slope(1 / COUNTS, [strong_error(method, k, key, jnp.asarray(1.0)) for k in COUNTS], order, 0.15)
    with pytest.raises(AssertionError):  # the twin: the noise with its sign flipped
        assert_slope(1 / COUNTS, [strong_error(method, k, key, jnp.asarray(-1.0)) for k in COUNTS], order, 0.15)


# --- strong order 3/2 for additive noise, by coarsening one Brownian path -------------------------------------------

RESTORING = Diffusion(lambda t, x: jnp.sin(2 * x) + t, lambda t, x: 1 + 0.6 * t)


def coarsen(noise):
    """Two steps as one: the increments add, and the mean of the path over both follows."""
    w, area = noise
    return w[::2] + w[1::2], (area[::2] + area[1::2] + w[::2]) / 2


@jax.jit
def sra_path(noise, count):
    """The path at time 1 over the first `count` rows of noise, in a loop of unknown length, compiled once."""
    h = 1.0 / count
    move = lambda k, x: SRA1().move(RESTORING, k * h, h, x, (noise[0][k], noise[1][k]))  # noqa: E731
    return jax.lax.fori_loop(0, count, move, jnp.full(noise[0].shape[1:], 0.7))


def sra_errors(noise, spoil=lambda noise: noise):
    fill = lambda a: jnp.zeros((512, *a.shape[1:])).at[: a.shape[0]].set(a)  # noqa: E731
    truth, errors = sra_path(noise, 512), []
    for count in (256, 128, 64, 32, 16, 8):
        noise = coarsen(noise)
        errors.append(jnp.sqrt(jnp.mean((sra_path(jax.tree.map(fill, spoil(noise)), count) - truth) ** 2)))
    return errors[2:]


def test_sra1_has_strong_order_three_halves_for_additive_noise(x64, key):
    x, h = jnp.zeros((500, 1)), jnp.asarray(1 / 512)
    noise = jax.vmap(lambda key: SRA1().draw(key, h, x))(jax.random.split(key, 512))
    steps = [8 / 512, 16 / 512, 32 / 512, 64 / 512]
    assert_slope(steps, sra_errors(noise), 1.5, 0.15)
    # The twin: without the second normal, as if the mean of the path were half its end.
    with pytest.raises(AssertionError):
        assert_slope(steps, sra_errors(noise, lambda noise: (noise[0], noise[0] / 2)), 1.5, 0.15)


def test_the_area_of_sra1_has_its_covariance(key):
    w, area = SRA1().draw(key, jnp.asarray(0.3), jnp.zeros((40000, 1)))
    for product, truth in ((w * w, 0.3), (w * area, 0.15), (area * area, 0.1)):
        assert_z(product.mean(), truth, product.std() / 200)


# --- weak order, without sampling: for a linear drift a step is x -> a x + b w, so the moments are a recursion --------


def variance_error(method, count, theta=1.3):
    process, h = OU(theta=theta, sigma=0.8), jnp.asarray(1.0 / count)
    one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
    if isinstance(method, EulerMaruyama):
        a, b = 1 - theta * h, 0.8
    else:
        noise = lambda w: (w, w / 2) if isinstance(method, SRA1) else w  # noqa: E731
        a = method.move(process, jnp.zeros(()), h, one, noise(zero))[0, 0]
        b = method.move(process, jnp.zeros(()), h, zero, noise(one))[0, 0]
    var = 0.0
    for _ in range(count):
        var = a**2 * var + b**2 * h
    return float(var - process.std(1.0) ** 2)


@pytest.mark.parametrize(
    ("method", "order"), [(EulerMaruyama(), 1), (InterpolantHeun(), 1), (StochasticHeun(), 2)], ids=["EM", "IH", "SH"]
)
def test_weak_order_for_additive_noise(x64, method, order):
    counts = (10, 20, 40, 80)
    assert_slope([1 / k for k in counts], [variance_error(method, k) for k in counts], order, 0.15)


@eqx.filter_jit
def growth(method, count):
    process, h = Diffusion(lambda t, x: jnp.cos(t) * x, lambda t, x: 0.0), 1.0 / count
    move = lambda k, x: method.advance(process, k * h, h, x, key=jax.random.key(0))  # noqa: E731
    return jax.lax.fori_loop(0, count, move, jnp.full((1, 1), 1.3))[0, 0] - 1.3 * jnp.exp(jnp.sin(1.0))


def test_the_interpolant_sampler_is_first_order_even_without_noise(x64):
    for method, order in ((InterpolantHeun(), 1), (StochasticHeun(), 2)):
        assert_slope(1 / COUNTS, [growth(method, k) for k in COUNTS], order, 0.15)


def test_backward_time_keeps_the_ito_meaning(key):
    # With x = y and time reversed, dX = -mu X dt + sigma X dW on falling times is geometric Brownian motion again.
    mu, sigma, n = 0.4, 0.7, 6000
    process = Diffusion(lambda t, x: -mu * x, lambda t, x: sigma * x)
    for method in (EulerMaruyama(), Milstein(), StochasticHeun()):
        x = simulate(process, jnp.full((n, 1), 1.3), jnp.linspace(1, 0, 101), method=method, key=key).value
        assert_z(x.mean(), 1.3 * np.exp(mu), x.std() / np.sqrt(n))


# --- correlated noise -----------------------------------------------------------------------------------------------

MIX = np.array([[1.0, 0.3, -0.2], [0.0, 0.6, 0.5]])


class Mixed(AbstractCorrelated):
    def drift(self, t, x):
        return -x

    def diffusion(self, t, x):
        return jnp.asarray(MIX, x.dtype)


def test_correlated_noise_has_its_covariance(key):
    n = 8000
    x = simulate(Mixed(), jnp.zeros((n, 2)), jnp.linspace(0, 1, 201), key=key).value
    truth = MIX @ MIX.T * (1 - np.exp(-2)) / 2
    products = np.einsum("ni,nj->nij", x, x)
    assert_z(products.mean(0), truth, products.std(0) / np.sqrt(n))
    with pytest.raises(AssertionError):  # the twin: the square of the matrix's columns only
        assert_z(products.mean(0), np.diag(np.diag(truth)), products.std(0) / np.sqrt(n))


# --- what is refused ------------------------------------------------------------------------------------------------

TS = jnp.linspace(0, 1, 5)
X0 = jnp.array([[0.3, -1.0], [0.5, 2.0]])


@pytest.mark.parametrize(
    ("process", "method", "text"),
    [
        (GeometricBrownian(), SRA1(), "SRA1 got the process GeometricBrownian; expected additive noise"),
        (GeometricBrownian(), InterpolantHeun(), "expected additive noise"),
        (Diffusion(lambda t, x: x, lambda t, x: jnp.sum(x**2)), Milstein(), "Milstein .* expected diagonal noise"),
        (Diffusion(lambda t, x: x, lambda t, x: x[::-1]), StochasticHeun(), "expected diagonal noise"),
        (Mixed(), Milstein(), "Milstein got noise mixed by a matrix"),
        (OverdampedLangevin(jnp.sum), ExactTransition(), "expected one with a `transition`"),
    ],
)
def test_noise_of_the_wrong_kind_is_refused(key, process, method, text):
    with pytest.raises(InputError, match=text):
        simulate(process, X0, TS, method=method, key=key)


def test_more_refusals(key):
    with pytest.raises(InputError, match=r"expected \(n, d\)"):
        simulate(Mixed(), jnp.ones((3, 2, 1)), TS, key=key)
    with pytest.raises(InputError, match="ExactTransition got times from 1 down to 0"):
        simulate(OU(), X0, TS[::-1], method=ExactTransition(), key=key)


def test_noise_of_the_right_kind_is_taken(key):
    for process in (OU(sigma=jnp.array([0.4, 2.0])), RESTORING, OverdampedLangevin(lambda x: jnp.sum(x**4))):
        simulate(process, X0, TS / 10, method=SRA1(), key=key)
    saturating = Diffusion(lambda t, x: -x, lambda t, x: jnp.array([1.0, 3.0]) * jnp.tanh(x))
    simulate(saturating, X0, TS, method=Milstein(), key=key)
