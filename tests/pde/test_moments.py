"""The moment equation against the page's tensors, closed forms and the kinetic equation; order 4, gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import ive

from tests.stats import assert_slope
from thalweg.core import InputError
from thalweg.pde import (
    Bingham,
    Learned,
    PeriodicBox,
    Quadratic,
    Suspension,
    SymmetricQuadratic,
    bingham_density,
    kinetic_in_gradient,
    moments_in_box,
    moments_in_gradient,
)
from thalweg.pde.suspension import deviator, tensor

A = np.asarray([[0.3, 1.1], [-0.2, -0.3]])
D0 = np.asarray([[0.62, 0.13], [0.13, 0.38]])
SIDES = np.asarray([7.0, 5.0])
TIMES = np.asarray([0.0, 0.5, 2.0])
CLOSURES = {"bingham": Bingham(), "quadratic": Quadratic(), "symmetric": SymmetricQuadratic()}


@pytest.mark.parametrize("name", CLOSURES)
def test_it_is_the_equation_of_the_tensors(x64, name):
    """The moment equation as it is printed, with matrices, in SciPy's hands."""
    closure, d_R, zeta = CLOSURES[name], 0.15, 0.6
    S_of = eqx.filter_jit(lambda D, G: closure(D, G))

    def rate(t, y, sign=1.0):
        D = y.reshape(2, 2)
        D = (D + D.T) / 2
        E = (A + A.T) / 2
        S = np.asarray(S_of(jnp.asarray(D), jnp.asarray(E + 2 * zeta * (D - np.eye(2) / 2))))
        S_E, S_D = np.einsum("ijkl,kl->ij", S, E), np.einsum("ijkl,kl->ij", S, D)
        turn = A @ D + D @ A.T - 2 * S_E + sign * 4 * zeta * (D @ D - S_D) - 4 * d_R * (D - np.eye(2) / 2)
        return turn.ravel()

    medium = Suspension(d_R, zeta)
    found = moments_in_gradient(closure, medium, A, D0, TIMES, substeps=40).D
    want = solve_ivp(rate, (0, 2), D0.ravel(), rtol=1e-9, atol=1e-10, t_eval=TIMES).y.T.reshape(-1, 2, 2)
    np.testing.assert_allclose(found, want, atol=1e-6)
    np.testing.assert_allclose(np.trace(found, axis1=1, axis2=2), 1, atol=1e-15)
    wrong = solve_ivp(lambda t, y: rate(t, y, -1.0), (0, 2), D0.ravel(), t_eval=TIMES).y.T.reshape(-1, 2, 2)
    assert np.abs(found - wrong).max() > 1e-2


def test_bingham_is_exact_at_rest(x64):
    """Rods that align without flow come to the Bingham density with kappa = zeta s / (2 d_R); s as it has to be."""
    medium, still = Suspension(0.1, 0.7), np.zeros((2, 2))
    D = moments_in_gradient(Bingham(), medium, still, D0, np.asarray([0.0, 80.0]), substeps=4000).D[-1]
    s = 2 * abs(complex(deviator(D)))
    kappa = 0.7 * s / (2 * 0.1)
    np.testing.assert_allclose(s, ive(1, kappa) / ive(0, kappa), rtol=1e-9)
    assert s > 0.3
    psi = bingham_density(D, 64)
    later = kinetic_in_gradient(medium, still, psi, np.asarray([0.0, 3.0]), substeps=200)
    np.testing.assert_allclose(later.psi[-1], psi, atol=1e-8)


def test_fourth_order_in_time(x64):
    medium = Suspension(0.1, 0.8)
    ends = lambda k: moments_in_gradient(Bingham(), medium, A, D0, TIMES, substeps=k).D[-1]  # noqa: E731
    truth = ends(200)
    steps = np.asarray([4, 6, 9, 13])
    assert_slope(1 / steps, [float(np.abs(ends(int(k)) - truth).max()) for k in steps], 4.0, 0.25)


def test_a_small_wave_grows_at_its_rate(x64):
    """The same closed form for every symmetric closure; the unsymmetric one gets another."""
    box = PeriodicBox((10, 10), SIDES)
    medium = Suspension(0.06, 0.3, -1.5, 0.04)
    y = 2 * np.pi * np.asarray(box.points)[..., 1] / SIDES[1]
    D = tensor(jnp.asarray(1e-6j * np.cos(y + 0.2)))
    want = float(medium.growth(2 * np.pi / SIDES[1]))
    for name, closure in CLOSURES.items():
        z = 2 * np.asarray(deviator(moments_in_box(closure, medium, box, D, np.asarray([0.0, 1.0]), substeps=20).D))
        grown = np.log(np.linalg.norm(z[1]) / np.linalg.norm(z[0]))
        # Without its symmetry S:E is of second order, and both terms count twice.
        rate = want if name != "quadratic" else 2 * 1.5 / 4 + 2 * 0.3 - 4 * 0.06 - 0.04 * (2 * np.pi / SIDES[1]) ** 2
        np.testing.assert_allclose(grown, rate, atol=1e-6)


def test_a_box_without_waves_is_a_given_gradient_at_rest(x64):
    box, medium = PeriodicBox((6, 8), SIDES, 5), Suspension(0.1, 0.6, -1.0, 0.2, 0.4)
    flow = moments_in_box(Bingham(), medium, box, np.tile(D0, (6, 8, 1, 1)), TIMES)
    alone = moments_in_gradient(Bingham(), medium, np.zeros((2, 2)), D0, TIMES).D
    np.testing.assert_allclose(flow.D, np.broadcast_to(np.asarray(alone)[:, None, None], flow.D.shape), atol=1e-13)
    assert np.abs(flow.velocity).max() < 1e-14


def wavy(box, size=0.2):
    x, y = (2 * np.pi * np.asarray(box.points)[..., i] / SIDES[i] for i in (0, 1))
    return tensor(jnp.asarray(size * (np.cos(x + 0.3) + 1j * np.sin(x - 2 * y + 1.0) - 0.5 * np.cos(y))))


def test_the_box_is_of_order_four_in_time_and_keeps_the_trace(x64):
    box, medium = PeriodicBox((12, 12), SIDES, 6), Suspension(0.1, 0.7, -2.0, 0.1, 0.6)
    ends = lambda k: moments_in_box(SymmetricQuadratic(), medium, box, wavy(box), np.asarray([0.0, 2.0]), substeps=k).D  # noqa: E731
    truth = np.asarray(ends(120)[-1])
    steps = np.asarray([8, 12, 17, 24])
    assert_slope(2 / steps, [np.abs(np.asarray(ends(int(k))[-1]) - truth).max() for k in steps], 4.0, 0.25)
    np.testing.assert_allclose(np.trace(truth, axis1=-2, axis2=-1), 1, atol=1e-14)


def test_gradients_pass_through_the_solver(x64):
    box, medium = PeriodicBox((6, 6), SIDES), Suspension(0.1, 0.4, -1.5, 0.1)
    closure = Learned.start(0.1, width=4, depth=1, key=jax.random.key(0))

    def end(scale, D):
        last = closure.net.last
        moved = eqx.tree_at(lambda c: c.net.last.bias, closure, last.bias + scale)
        flow = moments_in_box(moved, medium, box, D, np.asarray([0.0, 0.5]), substeps=4)
        alone = moments_in_gradient(moved, medium, A, D0, TIMES).D
        return jnp.sum(flow.D[-1] ** 2) + jnp.sum(alone[-1, 0])

    D = wavy(box)
    slope = (end(0.101, D) - end(0.099, D)) / 0.002
    np.testing.assert_allclose(jax.grad(end)(0.1, D), slope, rtol=1e-5)
    assert abs(float(slope)) > 1e-3


def test_bad_fields_are_refused():
    box, ts = PeriodicBox((6, 6), SIDES), np.asarray([0.0, 1.0])
    with pytest.raises(InputError, match=r"expected \(6, 6, 2, 2\)"):
        moments_in_box(Bingham(), Suspension(0.1), box, D0, ts)
    field = np.tile(D0, (6, 6, 1, 1))
    field[2, 3] = np.diag([1.3, -0.3])
    with pytest.raises(InputError, match=r"eigenvalues from -0\.3 to 1\.3"):
        moments_in_box(Bingham(), Suspension(0.1), box, field, ts)
