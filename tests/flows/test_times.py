"""Training times: their law, and the weights that undo it."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.stats import assert_z
from thalweg.core import InputError
from thalweg.flows import BetaTimes, LogitNormal, Reweighted, Uniform

N = 20_000


@pytest.mark.parametrize(
    ("times", "law"),
    [
        (Uniform(0.1, 0.7), stats.uniform(0.1, 0.6)),
        (BetaTimes(1.0, 2.0), stats.beta(1, 2)),
        (BetaTimes(3.0, 1.5), stats.beta(3, 1.5)),
    ],
    ids=["uniform", "beta(1, 2)", "beta(3, 1.5)"],
)
def test_laws(times, law, key):
    t, weight = times(N, key=key)
    assert stats.kstest(np.asarray(t), law.cdf).pvalue > 1e-5
    np.testing.assert_array_equal(weight, 1)


def test_logit_normal(key):
    t, _ = LogitNormal(0.4, 0.7)(N, key=key)
    logit = np.log(t) - np.log1p(-t)
    assert stats.kstest(np.asarray(logit), stats.norm(0.4, 0.7).cdf).pvalue > 1e-5


def test_reweighting_restores_the_uniform_mean(key):
    t, weight = Reweighted(LogitNormal(1.0, 0.6))(N, key=key)
    values = np.asarray(weight * t**2, np.float64)
    assert_z(values.mean(), 1 / 3, values.std() / N**0.5, max_stderr=0.01)
    with pytest.raises(AssertionError):  # the twin: without the weights the mean is another
        assert_z(float((t**2).mean()), 1 / 3, float(jnp.std(t**2)) / N**0.5)
    assert float(weight.max()) <= 10.001


def test_bad_choices():
    for make in (lambda: Uniform(0.5, 0.2), lambda: LogitNormal(0.0, 0.0), lambda: BetaTimes(-1.0, 1.0)):
        with pytest.raises(InputError, match=r"expected"):
            make()
    with pytest.raises(InputError, match=r"expected a share"):
        Reweighted(LogitNormal(), 0.0)
