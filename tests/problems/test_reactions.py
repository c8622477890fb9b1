"""The surface of three atoms: its limits, its symmetries and its saddle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.problems import LEPS

DEPTHS, SATO, ALPHA, REST = (4.746, 4.746, 3.445), (0.05, 0.30, 0.05), 1.942, 0.742


def by_hand(ab, bc, ac):
    """The formula, written out."""
    q, j = [], []
    for r, d, s in zip((ab, bc, ac), DEPTHS, SATO, strict=True):
        e = np.exp(-ALPHA * (r - REST))
        q.append(d / 2 * (1.5 * e * e - e) / (1 + s))
        j.append(d / 4 * (e * e - 6 * e) / (1 + s))
    cross = j[0] * j[1] + j[1] * j[2] + j[0] * j[2]
    return sum(q) - np.sqrt(sum(v * v for v in j) - cross)


def test_the_saddle_is_stationary_with_one_way_down(x64):
    surface = LEPS()
    saddle = surface.saddle
    assert float(jnp.max(jnp.abs(jax.grad(surface.collinear)(saddle)))) < 1e-10
    low, high = np.linalg.eigvalsh(jax.hessian(surface.collinear)(saddle))
    assert low < -1 < 1 < high
    # In space too: six motions of the whole, one way down, two to bend and one to stretch.
    x = surface.placed(saddle, 3)
    values = np.linalg.eigvalsh(jax.hessian(lambda v: surface(v.reshape(3, 3)))(x.ravel()))
    assert (values < -1).sum() == 1
    assert (np.abs(values) < 1e-8).sum() == 5
    assert (values > 1).sum() == 3
    # A saddle of Newton's iteration from elsewhere is the same one.
    near = saddle + jnp.asarray([0.04, -0.03])
    for _ in range(20):
        near = near - jnp.linalg.solve(jax.hessian(surface.collinear)(near), jax.grad(surface.collinear)(near))
    np.testing.assert_allclose(near, saddle, atol=1e-10)


def test_the_formula_and_its_limits(x64):
    surface, chance = LEPS(), np.random.default_rng(0)
    for r in chance.uniform(0.6, 3.0, (5, 3)):
        assert float(surface.of_distances(jnp.asarray(r))) == pytest.approx(by_hand(*r), rel=1e-12)
    # Far from the others a pair has Morse's curve, of depth D: q - |j| at rest is -D / (1 + S).
    alone = float(surface.collinear(jnp.asarray([40.0, REST])))
    assert alone == pytest.approx(-DEPTHS[1] / (1 + SATO[1]), rel=1e-9)
    # Other positions of the same distances have the same energy.
    x = chance.standard_normal((3, 3)) + np.asarray([[0, 0, 0], [1.0, 0, 0], [2.2, 0.3, 0]])
    turn = np.linalg.qr(chance.standard_normal((3, 3)))[0]
    there = surface(jnp.asarray(x @ turn + 5.0))
    assert float(surface(jnp.asarray(x))) == pytest.approx(float(there), rel=1e-12)
    # The pairs are not alike.
    assert float(surface(jnp.asarray(x[::-1].copy()))) != pytest.approx(float(there), rel=1e-3)


def test_bad_input():
    with pytest.raises(InputError, match="depths of shape"):
        LEPS(depths=jnp.ones(2))
    with pytest.raises(InputError, match="alpha=0"):
        LEPS(alpha=0.0)
    with pytest.raises(InputError, match="1 \\+ sato"):
        LEPS(sato=jnp.asarray([0.0, -1.0, 0.0]))
    with pytest.raises(InputError, match="expected a saddle"):
        LEPS(sato=jnp.asarray([0.05, 5.0, 0.05])).saddle  # noqa: B018
