"""The geometric minimum action: closed forms, known values, symmetries, and what is said when it fails."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import solve_continuous_lyapunov

from tests.rare.cases import swirling, tilted
from tests.stats import assert_slope, fit_slope
from thalweg.core import InputError, Status, StatusError, solve
from thalweg.rare import (
    Crossing,
    Geometric,
    GinzburgLandau,
    Gradient,
    Schlogl,
    SmallNoise,
    Stirred,
    evaluate,
    fixed_point,
)

KEY = jax.random.key(0)
MATRIX = np.asarray([[-1.0, 2.5], [0.1, -1.4]])
NOISE = np.asarray([[1.0, 0.3], [0.3, 0.4]])


def found(problem, segments=60, bend=0.15, **given):
    return solve(Geometric(segments, bend, **given), problem, max_steps=3000, key=KEY).value


def linear(x):
    return jnp.asarray(MATRIX) @ x


class MaierStein(eqx.Module):
    """With its parameter as a number that is not compiled in, and turned, stretched and hastened for the symmetries."""

    beta: jax.Array
    pace: jax.Array = eqx.field(converter=jnp.asarray, default=1.0)
    size: jax.Array = eqx.field(converter=jnp.asarray, default=1.0)
    turn: jax.Array = eqx.field(converter=jnp.asarray, default_factory=lambda: jnp.eye(2))

    def __call__(self, y):
        x = self.turn.T @ y / self.size
        b = jnp.stack([x[0] - x[0] ** 3 - self.beta * x[0] * x[1] ** 2, -(1 + x[0] ** 2) * x[1]])
        return self.pace * self.size * self.turn @ b


LEFT, RIGHT = np.asarray([-1.0, 0.0]), np.asarray([1.0, 0.0])


def maier_stein(beta, noise=1.0, pace=1.0, size=1.0, turn=None):
    """Noise is a matrix throughout, so that all of these are compiled once."""
    turn = np.eye(2) if turn is None else turn
    own = MaierStein(jnp.asarray(beta), pace, size, turn)
    return Crossing(SmallNoise(own, noise * np.eye(2)), size * turn @ LEFT, size * turn @ RIGHT)


def test_the_quasi_potential_of_a_linear_system(x64):
    """V(x) = x . C^{-1} x / 2 with A C + C A^T + a = 0, far from a gradient."""
    end = np.asarray([0.9, 1.6])
    covariance = solve_continuous_lyapunov(MATRIX, -NOISE)
    truth = 0.5 * end @ np.linalg.solve(covariance, end)
    problem = Crossing(SmallNoise(linear, NOISE), np.zeros(2), end, free_end=True)
    segments = np.asarray([16, 32, 64])
    runs = [found(problem, int(n)) for n in segments]
    # The middle of a segment is exact for quadratic V, so that only the bend of the path is left.
    assert fit_slope(1 / segments, [float(r.action) - truth for r in runs]).slope > 1.7
    assert float(runs[-1].action) == pytest.approx(truth, rel=1e-3)
    # The force of the noise at the end is the slope of V.
    np.testing.assert_allclose(runs[-1].momentum[-1], np.linalg.solve(covariance, end), rtol=0.05)
    assert_slope(1 / segments, [float(r.energy_error) for r in runs], 2.0, 0.5)
    # No saddle before the end, which is reached uphill.
    assert int(runs[-1].transition_index) == 64


@pytest.mark.parametrize("noise", [2.0, 0.5])
def test_a_gradient_system_pays_twice_the_barrier_over_the_noise(noise, x64):
    system = Gradient(tilted, noise)
    start, saddle, end = (fixed_point(system, np.asarray(x)) for x in ([-1.0, -0.5], [0.1, 0.0], [1.0, 0.5]))
    for a, b in ((start, end), (end, start)):
        got = found(Crossing(system, a, b), 80)
        barrier = float(tilted(saddle) - tilted(a))
        assert float(got.action) == pytest.approx(2 / noise * barrier, rel=5e-4)
        np.testing.assert_allclose(got.transition_state, saddle, atol=0.03)
        np.testing.assert_allclose(fixed_point(system, got.transition_state), saddle, atol=1e-10)
        # Downhill costs nothing.
        assert float(got.cumulative[-1] - got.cumulative[got.transition_index]) < 1e-3 * barrier


def test_a_stirred_potential_costs_what_its_potential_says(x64):
    turn = np.asarray([[0.0, 0.8], [-0.8, 0.0]])
    system = Stirred(tilted, np.asarray([[1.0, 0.2], [0.2, 0.5]]), turn)
    ends = [fixed_point(system, np.asarray(x)) for x in ([-1.0, -0.5], [0.1, 0.0], [1.0, 0.5])]
    got = found(Crossing(system, ends[0], ends[2]), 100)
    assert float(got.action) == pytest.approx(float(tilted(ends[1]) - tilted(ends[0])), rel=1e-3)


@pytest.mark.parametrize(("beta", "action"), [(1.0, 0.5), (3.0, 0.5), (10.0, 0.34004)])
def test_maier_and_stein(beta, action, x64):
    """1/2 until the axis stops being the best path at beta = 4 mu; beyond, a value of 400 segments."""
    got = found(maier_stein(beta), 100)
    assert float(got.action) == pytest.approx(action, abs=2e-4)
    assert (float(jnp.abs(got.path[:, 1]).max()) > 0.1) is (beta > 4)


def test_the_error_is_of_second_order(x64):
    """Against the limit of 100 and 200 segments, extrapolated."""
    segments = np.asarray([25, 50, 100])
    errors = [float(found(maier_stein(10.0), int(n)).action) - 0.3400423 for n in segments]
    assert_slope(1 / segments, errors, 2.0, 0.15)


def test_schlogl_in_one_volume_is_an_integral_of_logarithms(x64):
    system = Schlogl(diffusion=0.0)
    low, middle, high = (float(x) for x in system.phases())
    density = lambda x: np.log(float(system.deaths(jnp.asarray(x)) / system.births(jnp.asarray(x))))  # noqa: E731
    for a, b in ((low, high), (high, low)):
        got = found(Crossing(system, np.asarray([a]), np.asarray([b])))
        assert float(got.action) == pytest.approx(quad(density, a, middle)[0], rel=2e-3)
        assert float(got.transition_state[0]) == pytest.approx(middle, abs=0.02)


def test_two_sites_of_ginzburg_and_landau(x64):
    """Forward through an asymmetric saddle, backward through the homogeneous one."""
    system = GinzburgLandau(0.26)
    low, high = (np.full(2, float(x)) for x in system.phases())
    up, down = found(Crossing(system, low, high), 100), found(Crossing(system, high, low), 100)
    assert float(up.action) == pytest.approx(0.3020, abs=1e-3)
    assert float(down.action) == pytest.approx(0.7119, abs=1e-3)
    np.testing.assert_allclose(np.sort(fixed_point(system, up.transition_state)), [-0.5119, 0.3151], atol=1e-4)
    assert abs(float(down.transition_state[0] - down.transition_state[1])) < 0.05
    # A straight start stays on the diagonal for ever.
    pinned = found(Crossing(system, low, high), 100, bend=0.0)
    assert float(pinned.action) == pytest.approx(0.35644, abs=1e-3)


def test_without_coupling_both_ways_cost_the_same(x64):
    """S = 1/2 - (1 - 2k)^2 / 2 with k = 2 D / h^2, of two sites; in the homogeneous way 1/2."""
    problem = Crossing(GinzburgLandau(0.0), -np.ones(2), np.ones(2))
    for way in (problem, problem.reversed()):
        assert float(found(way, 100).action) == pytest.approx(0.5 - 0.5 * (1 - 0.8) ** 2, abs=3e-4)


def test_symmetries(x64):
    """Noise times c: S / c. Time times c: c S. Space times c: c^2 S. Rotated: the same S, the rotated path."""
    base = found(maier_stein(10.0), 100)
    changed = {"noise": 3.0, "pace": 3.0, "size": 3.0}
    actions = [float(found(maier_stein(10.0, **{k: v}), 100).action) for k, v in changed.items()]
    np.testing.assert_allclose(actions, float(base.action) * np.asarray([1 / 3, 3, 9]), rtol=1e-5)
    turn = np.asarray([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    turned = found(maier_stein(10.0, turn=turn), 100)
    assert float(turned.action) == pytest.approx(float(base.action), rel=1e-5)
    # There are two such paths, one on each side.
    back = np.asarray(turned.path @ turn)
    np.testing.assert_allclose(np.abs(back), np.abs(np.asarray(base.path)), atol=0.01)


def test_the_action_of_a_given_path(x64):
    """On the axis of the double well the integral of 2 |b| is exact at any layout."""
    system = Gradient(lambda x: 0.25 * (x[0] ** 2 - 1) ** 2 + x[1] ** 2, 1.0)
    path = jnp.stack([jnp.linspace(-1, 1, 401), jnp.zeros(401)], 1)
    got = evaluate(system, path)
    assert float(got.action) == pytest.approx(0.5, rel=1e-4)
    assert float(got.at(0.25)[0]) == pytest.approx(-0.5)
    assert got.density.shape == (400,)
    assert float(got.arclength[-1]) == pytest.approx(2.0)


def test_single_precision_and_its_refusal():
    got = solve(Geometric(40, tolerance=1e-14), maier_stein(10.0), max_steps=5000, key=KEY, throw=False)
    assert got.status == Status.precision
    assert got.value.path.dtype == jnp.float32
    assert float(got.value.action) == pytest.approx(0.3404, abs=1e-3)
    with pytest.raises(StatusError, match="max_steps"):
        solve(Geometric(40), maier_stein(10.0), max_steps=3, key=KEY)


def test_a_tangled_guess_is_laid_out_and_counted(x64):
    guess = np.stack([np.linspace(-1, 1, 101), np.zeros(101)], 1)
    guess[10:70] = guess[10:70][::-1]
    got = found(maier_stein(10.0), 100, guess=jnp.asarray(guess))
    assert int(got.resampled) >= 1
    assert float(got.action) == pytest.approx(0.3401, rel=1e-3)


def test_other_numbers_are_not_compiled_again():
    traces = []

    def counted(x):
        traces.append(1)
        return swirling(x)

    system = SmallNoise(counted, 1.0)
    ends = np.asarray([-1.0, 0.0]), np.asarray([1.0, 0.0])
    solve(Geometric(12), Crossing(system, *ends), max_steps=300, key=KEY, throw=False)
    other = Crossing(dataclasses.replace(system, noise=jnp.asarray(0.7)), *ends)
    before = len(traces)
    solve(Geometric(12), other, max_steps=300, key=KEY, throw=False)
    assert len(traces) == before


def test_bad_input():
    for given, message in (
        (dict(segments=3), "segments=3"),
        (dict(bend=-1.0), "bend=-1"),
        (dict(tolerance=0.0), "tolerance=0"),
    ):
        with pytest.raises(InputError, match=message):
            Geometric(**given)
    with pytest.raises(InputError, match="guess of shape"):
        Geometric(8, guess=jnp.zeros((9, 3))).init(maier_stein(1.0), key=KEY)
