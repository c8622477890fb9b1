"""The problem and its checks; fixed points."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.rare.cases import swirling, tilted
from thalweg.core import InputError
from thalweg.rare import AllenCahn, Crossing, Gradient, Jumps, SmallNoise, fixed_point, growth_rates

SYSTEM = SmallNoise(swirling, 1.0)
A, B = np.asarray([-1.0, 0.0]), np.asarray([1.0, 0.0])


def test_ends_must_be_at_rest_or_said_not_to_be():
    with pytest.raises(
        InputError, match=r"\|b\| = 0.\d+ at end = \(0.6, 0.1\).*fixed_point\(system, end\).*free_end=True"
    ):
        Crossing(SYSTEM, A, np.asarray([0.6, 0.1]))
    with pytest.raises(InputError, match=r"at start = \(0.6, 0.1\).*tolerance=None$"):
        Crossing(SYSTEM, np.asarray([0.6, 0.1]), B)
    Crossing(SYSTEM, A, np.asarray([0.6, 0.1]), free_end=True)
    Crossing(SYSTEM, np.asarray([0.6, 0.1]), B, tolerance=None)


@pytest.mark.parametrize(
    ("system", "end", "message"),
    [
        (SYSTEM, np.ones(3), "same shape"),
        (SYSTEM, np.asarray([np.nan, 0.0]), "not finite"),
        (SmallNoise(lambda x: jnp.log(x), 1.0), B, r"drift at start = \(-1, 0\) is \(nan"),
        (SmallNoise(lambda x: x[:1] * 0, 1.0), B, r"drift at start has shape \(1,\)"),
        (SmallNoise(swirling, np.asarray([1.0, 0.0])), B, "smallest eigenvalue 0;"),
        (SmallNoise(swirling, np.asarray([[1.0, 0.3], [0.0, 1.0]])), B, "symmetric positive definite"),
        (SmallNoise(swirling, lambda x: jnp.nan * x[0]), B, "smallest eigenvalue nan"),
        (Jumps(lambda x: jnp.zeros(1), np.asarray([[1.0, 0.0]])), B, "rates more than 0"),
    ],
)
def test_what_is_refused(system, end, message):
    with pytest.raises(InputError, match=message):
        Crossing(system, A, end)


def test_the_way_back():
    back = Crossing(SYSTEM, A, np.asarray([0.6, 0.1]), tolerance=None).reversed()
    np.testing.assert_allclose(back.start, [0.6, 0.1], rtol=1e-6)
    assert back.tolerance is None


def test_fixed_points_of_every_kind(x64):
    system = Gradient(tilted)
    points = [fixed_point(system, np.asarray(guess)) for guess in ([-0.9, -0.4], [0.1, 0.1], [0.8, 0.5])]
    # 4 x^3 - 4 x + 0.3 = 0, and the valley at y = x/2.
    roots = np.sort(np.roots([4, 0, -4, 0.3]))
    np.testing.assert_allclose([p[0] for p in points], roots, rtol=1e-12)
    np.testing.assert_allclose([p[1] for p in points], roots / 2, rtol=1e-12)
    assert [int((growth_rates(system, p) > 0).sum()) for p in points] == [0, 1, 0]


def test_a_field_has_its_fixed_point():
    system = AllenCahn(0.1, spacing=0.5)
    x = fixed_point(system, jnp.linspace(0.8, 1.2, 6))
    np.testing.assert_allclose(x, np.max(np.roots([-1, 0, 1, 0.1])), rtol=1e-4)


def test_where_there_is_none_it_says_so():
    with pytest.raises(InputError, match="start nearer"):
        fixed_point(SmallNoise(lambda x: 1 + x**2, 1.0), jnp.ones(1))
