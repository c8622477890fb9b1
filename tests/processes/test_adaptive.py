"""Adaptive steps against closed forms and fixed steps."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import AbstractProcess, InputError, Status, StatusError
from thalweg.processes import ODE, OU, RK4, Adaptive, GeometricBrownian, simulate, simulate_adaptive

X0 = jnp.array([[0.4, 1.5], [-1.2, 0.3], [2.0, -0.7]])


def bend(t, x):
    return jnp.array([x[1], (1 + t) * (1 - x[0] ** 2) * x[1] - x[0]])


def test_an_ode_agrees_with_fine_fixed_steps_and_runs_back(x64):
    x0, options = jnp.asarray(X0, float), dict(rtol=1e-9, atol=1e-9)
    ts = jnp.linspace(0, 2, 2001)
    fine = simulate(ODE(bend), x0, ts, method=RK4(), save_at=(500, 1200)).value
    result = simulate_adaptive(ODE(bend), x0, 0.0, 2.0, save_at=ts[jnp.array([500, 1200])], **options)
    np.testing.assert_allclose(result.value.final, fine.final, atol=1e-7)
    np.testing.assert_allclose(result.value.x, fine.x, atol=1e-7)
    assert result.value.final.dtype == jnp.float64
    assert result.status == Status.finished
    assert result.info.accepted.shape == (3,)
    assert int(result.num_steps) == int(result.info.accepted.max())
    back = simulate_adaptive(ODE(bend), fine.final, 2.0, 0.0, save_at=ts[jnp.array([1200, 500])], **options).value
    np.testing.assert_allclose(back.final, x0, atol=1e-6)
    np.testing.assert_allclose(back.x[::-1], fine.x, atol=1e-6)


@pytest.mark.slow
def test_an_ode_is_differentiable():
    def go(rate):
        options = dict(rtol=1e-4, atol=1e-4, max_steps=64, solver=diffrax.Heun(), throw=False)
        return simulate_adaptive(ODE(lambda t, x: -rate * x), X0, 0.0, 1.0, **options).value[0, 1]

    np.testing.assert_allclose(jax.grad(go)(0.7), -1.5 * np.exp(-0.7), rtol=1e-2)


def test_additive_noise_has_its_moments(key):
    n, theta, sigma = 1500, np.array([0.7, 2.1]), np.array([0.4, 1.3])
    process = OU(theta=theta, mu=0.5, sigma=sigma)
    value = simulate_adaptive(process, jnp.ones((n, 2)), 0.0, 0.9, key=key, rtol=1e-2, atol=1e-2, save_at=(0.4,)).value
    for t, x in ((0.4, value.x[0]), (0.9, value.final)):
        var = sigma**2 / 2 / theta * (1 - np.exp(-2 * theta * t))
        assert_z(x.mean(0), 0.5 + 0.5 * np.exp(-theta * t), np.sqrt(var / n))
        assert_z(x.var(0), var, var * np.sqrt(2 / n))
    with pytest.raises(AssertionError):  # the twin: the other time's variance
        assert_z(value.x[0].var(0), var, var * np.sqrt(2 / n))


@pytest.mark.slow
def test_multiplicative_noise_has_its_moments_in_both_directions(key):
    n, law = 1000, GeometricBrownian(0.4, 0.5)
    # On falling times the reversed drift is -mu x, so that growth is growth in either direction.
    for process, times in ((law, (0.0, 0.8)), (GeometricBrownian(-0.4, 0.5), (0.8, 0.0))):
        x = simulate_adaptive(process, jnp.full((n, 1), 1.5), *times, key=key, rtol=1e-2, atol=1e-2).value
        assert_z(jnp.log(x).mean(), law.log_mean(0.8, 1.5), law.log_std(0.8) / np.sqrt(n))
        assert_z(jnp.log(x).var(), law.log_std(0.8) ** 2, law.log_std(0.8) ** 2 * np.sqrt(2 / n))


def test_failures_are_told():
    with pytest.raises(StatusError, match="max_steps was reached"):
        simulate_adaptive(ODE(bend), X0, 0.0, 2.0, max_steps=3)
    result = simulate_adaptive(ODE(bend), X0.at[1, 0].set(jnp.nan), 0.0, 2.0, max_steps=3, throw=False)
    assert result.status == Status.nonfinite


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (dict(t0=1.0, t1=1.0), "expected two different times"),
        (dict(t0=0.0, t1=np.inf), r"simulate_adaptive\(t1=inf\): expected finite"),
        (dict(t0=0.0, t1=1.0, rtol=0.0), r"rtol=0\): expected more than 0"),
        (dict(t0=0.0, t1=1.0, save_at=(0.7, 0.2)), "expected times strictly between"),
        (dict(t0=0.0, t1=1.0, save_at=(0.7, 1.2)), "expected times strictly between"),
    ],
)
def test_bad_input_is_refused(arguments, text):
    with pytest.raises(InputError, match=text):
        simulate_adaptive(ODE(bend), X0, arguments.pop("t0"), arguments.pop("t1"), **arguments)


def test_noise_wants_a_key():
    with pytest.raises(InputError, match="simulate_adaptive got no key"):
        simulate_adaptive(OU(), X0, 0.0, 1.0)


class Herd(AbstractProcess):
    """Every particle is drawn to the mean of all."""

    def drift(self, t, x):
        return -x

    def drifts(self, t, x):
        return jnp.mean(x, axis=0) - x

    def diffusion(self, t, x):
        return jnp.asarray(0.1, x.dtype)


def test_particles_that_interact_are_refused(key):
    with pytest.raises(InputError, match=r"Herd, whose drift looks at the whole cloud"):
        simulate_adaptive(Herd(), X0, 0.0, 1.0, key=key)


def test_the_front_door_takes_steps_of_its_own():
    ts = jnp.asarray([0.0, 2.0])
    found = simulate(ODE(bend), X0, ts, method=Adaptive(rtol=1e-5, atol=1e-6)).value
    np.testing.assert_array_equal(found, simulate_adaptive(ODE(bend), X0, 0.0, 2.0, rtol=1e-5, atol=1e-6).value)
    with pytest.raises(InputError, match=r"Adaptive\(\) keeps no steps"):
        simulate(ODE(bend), X0, ts, method=Adaptive(), save_at=(0,))
