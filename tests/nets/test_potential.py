"""A potential: its score is its gradient, and confinement makes it a density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, Score, load, save
from thalweg.nets import MLP, Gradient, Labels, Potential

X = jnp.asarray([0.4, -0.7])


def net(**options):
    return MLP((2,), out=(), width=16, depth=2, key=jax.random.key(1), **options)


def test_the_score_is_the_gradient(x64):
    u = Potential(net(), confinement=0.7, centre=jnp.asarray([1.0, -2.0]))
    h = 1e-6
    for i, e in enumerate(jnp.eye(2)):
        slope = (u(0.3, X + h * e) - u(0.3, X - h * e)) / (2 * h)
        np.testing.assert_allclose(u.score(0.3, X)[i], slope, rtol=1e-6)
    jacobian = jax.jacfwd(lambda x: u.score(0.3, x))(X)
    np.testing.assert_allclose(jacobian, jacobian.T, rtol=1e-10)


def test_confinement_adds_a_gaussian_around_the_centre():
    centre = jnp.asarray([1.0, -2.0])
    free, held = Potential(net()), Potential(net(), 0.7, centre)
    np.testing.assert_allclose(held.score(0.3, X) - free.score(0.3, X), -0.7 * (X - centre), rtol=1e-5)
    far = 200.0 * X
    assert float(held(0.3, far)) < -1000


def test_the_gradient_is_a_score_that_can_be_saved(tmp_path, key):
    field = Score(Gradient(Potential(net(condition=Labels(3, 4, key=key)), 0.5)))
    save(tmp_path / "score", field)
    again = load(tmp_path / "score")[0]
    np.testing.assert_array_equal(again(0.3, X, 2), field(0.3, X, 2))
    np.testing.assert_array_equal(field(0.3, X, 2), field.fn.potential.score(0.3, X, 2))
    batch = jax.vmap(field, (None, 0))(0.3, jnp.stack([X, -X]))
    np.testing.assert_allclose(batch[1], field(0.3, -X), rtol=1e-5)


def test_bad_input_is_refused(key):
    with pytest.raises(InputError, match="scalar net"):
        Potential(MLP((2,), key=key))
    with pytest.raises(InputError, match="scalar net"):
        Potential(lambda t, x, c: x)(0.3, X)
    with pytest.raises(InputError, match="at least 0"):
        Potential(net(), -1.0)
