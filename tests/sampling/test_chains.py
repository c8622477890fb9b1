"""Chains: the warm-up finds a step, the draws have the target's moments, and what fails is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError, Status, StatusError, run
from thalweg.problems import Density, Normal, gaussian, posterior, two_modes
from thalweg.sampling import HMC, MALA, ULA, Chains, RandomWalk, Starts, WarmUp, ess_tail, sample_chains

# Very unequal lengths, a correlation, a mean: a step for one coordinate is none for the other.
TARGET = gaussian(jnp.asarray([3.0, -40.0]), jnp.asarray([[0.04, 0.5], [0.5, 100.0]]))
X0 = jnp.asarray([3.0, -40.0]) + jnp.asarray([0.3, 15.0]) * jnp.asarray([[1.0, 1], [-1, 1], [1, -1], [-1, -1.5]])


@pytest.mark.parametrize("kernel", [HMC(1.0, leaps=6), MALA(5.0)], ids=["hmc", "mala"])
def test_from_a_bad_step_to_good_draws(kernel, key):
    found = sample_chains(TARGET, kernel, X0, draws=800, warmup=400, key=key, max_rhat=1.05)
    assert abs(float(found.accept) - kernel.target) < 0.15
    lengths = np.asarray(found.kernel.scale)
    assert lengths[1] / lengths[0] == pytest.approx(50.0, rel=0.8)
    for fn, truth in ((lambda x: x, TARGET.mean), (lambda x: (x - TARGET.mean) ** 2, jnp.diag(TARGET.covariance))):
        seen = found.expectation(fn)
        assert_z(np.asarray(seen.mean), np.asarray(truth), np.asarray(seen.stderr))
    assert int(found.divergent) == int(found.broken) == 0


def test_a_real_posterior(key):
    target = posterior("diabetes")
    x0 = 0.3 * jax.random.normal(key, (4, 11))
    found = sample_chains(target, HMC(0.05, leaps=10), x0, draws=500, warmup=400, key=key, max_rhat=1.05)
    seen = found.expectation(lambda x: x)
    assert_z(np.asarray(seen.mean), np.asarray(target.mean), np.asarray(seen.stderr), max_stderr=0.1)


def test_draws_are_reproducible_and_thinned(key):
    problem = Starts(TARGET, X0)
    one = run(Chains(RandomWalk(0.2)), problem, steps=4, key=key).info.x
    again = run(Chains(RandomWalk(0.2)), problem, steps=4, key=key).info.x
    np.testing.assert_array_equal(one, again)
    assert run(Chains(RandomWalk(0.2), thin=5), problem, steps=3, key=key).info.x.shape == (3, 4, 2)


def test_a_step_that_varies_meets_no_period(key):
    """A leap of h turns a standard Gaussian's phase by 2 arcsin(h/2): four of sqrt 2 go once round, to the start."""
    target = gaussian(jnp.asarray([1.0, -2.0]), jnp.diag(jnp.asarray([0.25, 4.0])))
    still, varied = (HMC(1.4, jnp.asarray([0.5, 2.0]), leaps=4, jitter=j) for j in (0.0, 0.2))
    x0 = target.sample(key, 4)
    worth = [
        float(ess_tail(sample_chains(target, k, x0, draws=400, warmup=0, key=key, throw=False).x).min())
        for k in (still, varied)
    ]
    assert worth[1] > 3 * worth[0]


def test_a_warm_up_that_failed_taints_the_draws(key):
    """The runner tells of a failure, as one in chunks does."""

    def runner(method, problem, **how):
        result = run(method, problem, **how)
        if not isinstance(method, WarmUp):
            return result
        return eqx.tree_at(lambda r: r.status, result, Status.nonfinite)

    found = sample_chains(TARGET, MALA(0.3), X0, draws=40, warmup=20, key=key, throw=False, runner=runner)
    assert found.status == Status.nonfinite
    np.testing.assert_allclose(found.accepts.mean(), found.accept, rtol=1e-5)


def test_chains_in_two_wells_are_refused(key):
    apart = gaussian(jnp.zeros(1), jnp.ones((1, 1)))
    wells = Density(lambda x: jnp.logaddexp(apart.log_prob(x - 20), apart.log_prob(x + 20)), (1,))
    x0 = jnp.asarray([[-20.0], [20.0], [20.0], [-20.0]])
    found = sample_chains(wells, HMC(0.5, leaps=4), x0, draws=200, warmup=100, key=key, throw=False)
    assert found.status == Status.unmixed
    assert float(found.rhat[0]) > 1.5
    with pytest.raises(StatusError, match="disagree"):
        found.expectation(lambda x: x)
    with pytest.raises(StatusError, match="disagree"):
        sample_chains(wells, HMC(0.5, leaps=4), x0, draws=200, warmup=100, key=key)


def test_a_density_without_an_integral_is_noticed(key):
    """A constant slope: walkers slide for ever."""
    slope = Density(lambda x: 3.0 * x[0] - 0.5 * x[1] ** 2, (2,))
    x0 = jnp.asarray([[0.0, 0.1], [0.5, -0.3], [-0.4, 0.6], [0.2, 0.2]])
    found = sample_chains(slope, MALA(0.3), x0, draws=400, warmup=0, key=key, throw=False)
    assert found.status == Status.unbounded
    assert "finite integral" in str(found)
    explosive = Density(lambda x: jnp.sum(x**2), (2,))
    with pytest.raises(StatusError, match="non-finite"):
        sample_chains(explosive, ULA(0.5), x0, draws=400, warmup=0, key=key)


def test_a_step_that_is_far_too_large_is_refused(key):
    with pytest.raises(StatusError, match="almost every proposal was rejected"):
        sample_chains(TARGET, RandomWalk(1e5), X0, draws=50, warmup=0, key=key)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k: sample_chains(TARGET, HMC(0.1), X0[:, :1], key=k), "starts have shape"),
        (lambda k: sample_chains(TARGET, HMC(0.1), X0, draws=0, key=k), "at least 4 draws"),
        (lambda k: sample_chains(TARGET, HMC(0.1), X0.at[1, 1].set(jnp.nan), key=k), "at a starting point"),
        (lambda k: sample_chains(Density(lambda x: x, (2,)), HMC(0.1), X0, key=k), "expected a single"),
        (lambda k: WarmUp(ULA(0.1)), "no acceptance to aim at"),
        (lambda k: WarmUp(HMC(0.1), 5), "at least 20"),
        (lambda k: Chains(HMC(0.1), 0), "thin"),
        (lambda k: Starts(two_modes(), Normal(jnp.zeros(3)).sample(k, 2)), "starts have shape"),
    ],
)
def test_bad_input(call, message, key):
    with pytest.raises(InputError, match=message):
        call(key)
