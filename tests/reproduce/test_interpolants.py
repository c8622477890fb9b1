"""The measure that the reproduction rests on sees what it should."""

import jax
import pytest

from thalweg.problems import MixtureInterpolant, three_from_two
from thalweg.reproduce import interpolants


@pytest.fixture(scope="module")
def exact():
    return MixtureInterpolant(*three_from_two(), interpolants.PATH)


def test_the_divergence_of_exact_samples_is_its_floor(exact, key):
    n = 20_000
    floor = (len(interpolants.BINS) - 2) / (2 * n)
    assert interpolants._kl(exact, exact.target.sample(key, n)) == pytest.approx(floor, rel=0.4)


def test_the_divergence_of_other_samples_is_large(exact, key):
    assert interpolants._kl(exact, exact.base.sample(key, 5000)) > 1.0
    assert interpolants._kl(exact, exact.target.sample(key, 5000) * 0.9) > 0.1


def test_the_excess_losses_of_exact_fields_vanish(exact, key):
    class Learned:
        velocity, denoiser = exact.velocity, exact.denoiser

    for found in interpolants._excess(exact, Learned, key, n=200):
        assert float(found.mean) < 1e-6

    class Wrong:
        velocity, denoiser = exact.velocity, jax.tree_util.Partial(lambda t, x: -exact.denoiser(t, x))

    assert float(interpolants._excess(exact, Wrong, key, n=200)[1].mean) > 0.1
