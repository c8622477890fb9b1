"""The kinetic equation against exact solutions: decay, rotation, Jeffery's orbits, growth of waves; orders by slope."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from tests.stats import assert_slope
from thalweg.core import InputError
from thalweg.pde import PeriodicBox, Suspension, isotropic, kinetic_in_box, kinetic_in_gradient
from thalweg.pde.closures import AbstractSymmetricClosure
from thalweg.pde.kinetic import harmonics, kinetic_rate
from thalweg.pde.moments import moment_rate
from thalweg.pde.suspension import deviator

N = 48
GRADIENT = np.asarray([[0.3, 1.1], [-0.2, -0.3]])


def angles(n=N):
    return 2 * np.pi * np.arange(n) / n


def lopsided(n=N):
    """A density without any symmetry."""
    t = angles(n)
    psi = np.exp(0.6 * np.cos(t - 0.4) + 0.8 * np.cos(2 * t - 1.0) + 0.3 * np.sin(3 * t))
    return psi / (psi.sum() * 2 * np.pi / n)


def test_rotational_diffusion_damps_each_harmonic_at_its_rate(x64):
    times = np.asarray([0.0, 0.2, 1.0])
    found = kinetic_in_gradient(Suspension(0.3), np.zeros((2, 2)), lopsided(), times, substeps=1)
    start = np.asarray(harmonics(jnp.asarray(lopsided())))
    m = np.arange(N // 2)
    np.testing.assert_allclose(found.harmonics, start * np.exp(-0.3 * m**2 * times[:, None]), atol=1e-14)
    assert np.abs(start[1:6]).min() > 1e-3


def test_vorticity_turns_the_density_by_half_its_angle(x64):
    w = 1.7
    times = np.asarray([0.0, 0.5, 1.3])
    found = kinetic_in_gradient(Suspension(), np.asarray([[0.0, -w / 2], [w / 2, 0.0]]), lopsided(), times, substeps=1)
    fine = lopsided(480)
    by = np.exp(1j * np.arange(N // 2) * w / 2 * times[:, None])
    want = np.asarray(harmonics(jnp.asarray(fine)))[: N // 2] * by
    np.testing.assert_allclose(found.harmonics, want, atol=1e-9)


def jeffery(theta, A, t, start):
    """psi(theta, t) without diffusion: psi_0 at the angle that e^(A t) brings here, times how it crowds them."""
    back = expm(-A * t) @ np.stack([np.cos(theta), np.sin(theta)])
    return start(np.arctan2(back[1], back[0])) / np.sum(back**2, axis=0)


def test_jefferys_orbits(x64):
    n, t = 128, 0.9
    start = lambda a: (1 + 0.4 * np.cos(a - 0.3) + 0.3 * np.sin(2 * a)) / (2 * np.pi)  # noqa: E731
    found = kinetic_in_gradient(Suspension(), GRADIENT, start(angles(n)), np.asarray([0.0, t]), substeps=200)
    want = jeffery(angles(n), GRADIENT, t, start)
    np.testing.assert_allclose(found.psi[-1], want, atol=1e-7)
    assert np.abs(want - jeffery(angles(n), GRADIENT.T, t, start)).max() > 1e-2
    p = np.stack([np.cos(angles(n)), np.sin(angles(n))])
    w = want * 2 * np.pi / n
    np.testing.assert_allclose(found.D[-1], np.einsum("t,it,jt->ij", w, p, p), atol=1e-7)
    np.testing.assert_allclose(found.S[-1], np.einsum("t,it,jt,kt,lt->ijkl", w, p, p, p, p), atol=1e-7)


def test_fourth_order_in_time_and_mass_to_round_off(x64):
    medium = Suspension(0.1, 0.8)
    ends = lambda k: kinetic_in_gradient(medium, GRADIENT, lopsided(), np.asarray([0.0, 1.5]), substeps=k)  # noqa: E731
    truth = ends(600).harmonics[-1]
    steps = np.asarray([30, 45, 70, 100])
    found = [ends(int(k)) for k in steps]
    assert_slope(1.5 / steps, [float(np.abs(f.harmonics[-1] - truth).max()) for f in found], 4.0, 0.2)
    for f in found:
        assert np.abs(f.mass - 1).max() < 1e-14
        assert np.abs(np.trace(f.D, axis1=1, axis2=2) - 1).max() < 1e-14


def test_angles_converge_faster_than_any_power(x64):
    medium, times = Suspension(0.1, 0.8), np.asarray([0.0, 1.5])
    counts = np.asarray([12, 16, 20, 24, 28])
    # The same start for all: two harmonics.
    start = lambda t: (1 + 0.4 * np.cos(t - 0.3) + 0.4 * np.cos(2 * t + 0.5)) / (2 * np.pi)  # noqa: E731
    end = lambda n: kinetic_in_gradient(medium, GRADIENT, start(angles(n)), times, substeps=100).D[-1]  # noqa: E731
    far = end(96)
    errors = [float(np.abs(end(int(n)) - far).max()) for n in counts]
    # Each four angles more are worth about a factor: a straight line in n, not in log n.
    assert (np.diff(np.log(errors)) < -1.0).all()


# --- in a box -------------------------------------------------------------------------------------------------------

SIDES = np.asarray([7.0, 5.0])


def waves(box, size):
    """z of two waves that are not alike."""
    x, y = (2 * np.pi * np.asarray(box.points)[..., i] / SIDES[i] for i in (0, 1))
    return size * (np.cos(x + 0.3) + 0.6j * np.cos(x) + 1j * np.sin(x - 2 * y + 1.0) - 0.5 * np.cos(y))


def spread(box, z, n=24, lean=0.0):
    """A density with this z, and `lean` of what no rod without a head has."""
    t = angles(n)
    return (1 + 2 * np.real(z[..., None] * np.exp(-2j * t)) + lean * np.cos(t + 0.4)) / (2 * np.pi)


def test_a_small_wave_grows_at_its_rate(x64):
    """By shear, at the closed form; a wave that stretches alone grows by the neighbours only."""
    times = np.asarray([0.0, 1.0])
    for beta, sweeps in ((0.0, 0), (1.2, 8)):
        box = PeriodicBox((10, 10), SIDES, sweeps)
        medium = Suspension(0.06, 0.3, -1.5, 0.04, beta)
        x = 2 * np.pi * np.asarray(box.points)[..., 0] / SIDES[0]
        small = 1e-6
        for part, what in ((1j, "shear"), (1.0, "stretch")):
            flow = kinetic_in_box(medium, box, spread(box, small * part * np.cos(x)), times, substeps=20).flow
            z = 2 * np.asarray(deviator(flow.D))
            grown = np.log(np.linalg.norm(z[1]) / np.linalg.norm(z[0]))
            k = 2 * np.pi / SIDES[0]
            still = 0.3 - 4 * 0.06 - 0.04 * k**2
            want = float(medium.growth(k)) if what == "shear" else still
            np.testing.assert_allclose(grown, want, atol=1e-6)
            assert (abs(want - still) > 0.2) == (what == "shear")


def active(n=(16, 20), sweeps=0, beta=0.0):
    return Suspension(0.1, 0.7, -2.0, 0.1, beta), PeriodicBox(n, SIDES, sweeps)


def test_mass_and_concentration_stay(x64):
    medium, box = active()
    psi = spread(box, waves(box, 0.12), lean=0.1)
    found = kinetic_in_box(medium, box, psi, np.linspace(0.0, 3.0, 4), substeps=20)
    assert np.abs(found.mass - 1).max() < 1e-14
    assert np.abs(np.asarray(found.harmonics[0]) - 1).max() < 1e-13
    assert np.abs(np.trace(found.flow.D, axis1=-2, axis2=-1) - 1).max() < 1e-14
    assert np.abs(found.flow.velocity).max() > 0.05
    np.testing.assert_allclose(found.psi.sum(-1) * 2 * np.pi / 24, 1, atol=1e-12)


class Given(AbstractSymmetricClosure):
    """A closure that knows the answer."""

    w: jax.Array

    def fourth(self, z, g):
        return self.w


@pytest.mark.parametrize(("beta", "sweeps"), [(0.0, 0), (0.9, 10)])
def test_its_second_moment_obeys_the_moment_equation(x64, beta, sweeps):
    """With the exact fourth moment both rates are the same: each is derived on its own."""
    medium, box = active(sweeps=sweeps, beta=beta)
    w = 0.4 * waves(box, 0.12) ** 2 + 0.05j
    psi = spread(box, waves(box, 0.12)) + np.real(w[..., None] * np.exp(-4j * angles(24))) / np.pi
    a = np.fft.ifft2(np.asarray(box.transform(jnp.moveaxis(harmonics(jnp.asarray(psi)), -1, 0))))
    spectrum = jnp.fft.fft2(jnp.asarray(a))
    whole = np.asarray(kinetic_rate(medium, box, spectrum)[2])
    moment = np.asarray(moment_rate(Given(jnp.asarray(a[4])), medium, box, spectrum[2]))
    np.testing.assert_allclose(moment, whole, atol=1e-11 * np.abs(whole).max())
    wrong = np.asarray(moment_rate(Given(jnp.asarray(0.9 * a[4])), medium, box, spectrum[2]))
    assert np.abs(wrong - whole).max() > 1e-3 * np.abs(whole).max()


def test_a_quarter_turn_of_the_start_turns_the_answer(x64):
    medium, times = Suspension(0.1, 0.7, -2.0, 0.1), np.asarray([0.0, 1.0])
    box, turned = PeriodicBox((12, 18), SIDES), PeriodicBox((18, 12), SIDES[::-1])
    z = waves(box, 0.12)
    ends = lambda b, z: kinetic_in_box(medium, b, spread(b, z), times, substeps=15).flow  # noqa: E731
    # (x, y) -> (-y, x): the field at (i, j) comes from (j, -i), z changes its sign.
    move = lambda f: np.swapaxes(np.roll(np.flip(f, 1), 1, 1), 0, 1)  # noqa: E731
    here, there = ends(box, z), ends(turned, -move(z))
    D, E = np.asarray(here.D[-1]), np.asarray(there.D[-1])
    R = np.asarray([[0.0, -1.0], [1.0, 0.0]])
    np.testing.assert_allclose(E, R @ move(D) @ R.T, atol=1e-12)
    np.testing.assert_allclose(there.velocity[-1], move(np.asarray(here.velocity[-1])) @ R.T, atol=1e-12)
    assert np.abs(here.velocity[-1]).max() > 0.05


def test_the_box_is_of_order_four_in_time(x64):
    medium, box = active((12, 12))
    psi = spread(box, waves(box, 0.12), 16)
    ends = lambda k: np.asarray(kinetic_in_box(medium, box, psi, np.asarray([0.0, 2.0]), substeps=k).harmonics)  # noqa: E731
    truth = ends(160)
    steps = np.asarray([12, 18, 26, 38])
    assert_slope(2.0 / steps, [np.abs(ends(int(k)) - truth).max() for k in steps], 4.0, 0.25)


def test_points_converge_faster_than_any_power(x64):
    medium, times = Suspension(0.1, 0.7, -2.0, 0.1), np.asarray([0.0, 1.5])
    ends = {}
    for n in (10, 16, 22, 28, 44):
        box = PeriodicBox((n, n), SIDES)
        D = kinetic_in_box(medium, box, spread(box, waves(box, 0.12), 16), times, substeps=30).flow.D[-1]
        ends[n] = np.fft.fft2(np.asarray(2 * deviator(D))) / n**2
    low = lambda f: f[np.ix_([0, 1, 2, -1, -2], [0, 1, 2, -1, -2])]  # noqa: E731
    errors = [np.abs(low(ends[n]) - low(ends[44])).max() for n in (10, 16, 22, 28)]
    assert (np.diff(np.log(errors)) < -1.0).all()


def test_the_end_differentiates_by_its_parameters(x64):
    box = PeriodicBox((8, 8), SIDES)
    psi = spread(box, waves(box, 0.1), 12)

    def end(alpha):
        return jnp.sum(kinetic_in_box(Suspension(0.1, 0.4, alpha), box, psi, np.asarray([0.0, 0.5])).flow.D[-1] ** 2)

    slope = (end(-1.501) - end(-1.499)) / -0.002
    np.testing.assert_allclose(jax.grad(end)(-1.5), slope, rtol=1e-5)
    assert abs(float(slope)) > 1e-3


def test_single_precision_stays_single():
    found = kinetic_in_gradient(Suspension(0.1, 0.5), GRADIENT, isotropic(32), np.linspace(0.0, 1.0, 3))
    assert found.D.dtype == np.float32
    assert found.harmonics.dtype == np.complex64
    assert np.abs(found.mass - 1).max() < 1e-6


def test_bad_densities_are_refused():
    ts, box = np.asarray([0.0, 1.0]), PeriodicBox((8, 8), SIDES)
    good = np.full((8, 8, 16), 1 / (2 * np.pi))
    for psi, told in (
        (2 * lopsided(), "mass of 1 up to 1"),
        (np.full(15, 1 / (2 * np.pi)), "even number"),
        (np.full(8, 1 / (2 * np.pi)), "from 12 up"),
        (lopsided() - 0.2, "at least 0"),
    ):
        with pytest.raises(InputError, match=told):
            kinetic_in_gradient(Suspension(0.1), GRADIENT, psi, ts)
    with pytest.raises(InputError, match="mass of 1"):
        kinetic_in_box(Suspension(0.1), box, good * np.linspace(0.9, 1.1, 8)[:, None], ts)
    with pytest.raises(InputError, match="points of the box"):
        kinetic_in_box(Suspension(0.1), box, good[:6], ts)
    with pytest.raises(InputError, match="sweeps"):
        kinetic_in_box(Suspension(0.1, beta=2.0), box, good, ts)
