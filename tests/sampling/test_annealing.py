"""log Z by annealing: against known answers, its error bar against many runs, and the refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.stats import assert_z
from thalweg.core import InputError, Multinomial, Status, StatusError, solve
from thalweg.problems import Banana, Density, ManyWell, Mixture, Normal, PhiFour, posterior
from thalweg.sampling import HMC, MALA, Adaptive, Annealing, Invariant, Jarzynski, Ladder, RandomWalk, Tempering

TARGET = Mixture(
    np.asarray([0.3, 0.7]),
    np.asarray([[-1.5, 0.5], [1.5, -0.5]]),
    np.asarray([[[0.3, 0.1], [0.1, 0.4]], [[0.4, -0.2], [-0.2, 0.3]]]),
)
# log Z is not zero, so that a forgotten constant shows.
SHIFTED = Density(lambda x: TARGET.log_prob(x) + 2.5, (2,), jnp.asarray(2.5))
PROBLEM = Tempering(Normal(jnp.asarray([0.3, 0.2]), 3.0), SHIFTED)
METHODS = {
    "ais": Annealing(Invariant(MALA(0.2), tuning=0.0), Ladder.power(20, 2.0), 200, resampler=None),
    "smc": Annealing(Invariant(HMC(0.4, leaps=3)), Adaptive(0.8), 300),
    "smc-multinomial": Annealing(Invariant(HMC(0.4, leaps=3)), Adaptive(0.8), 300, Multinomial()),
    "random-walk": Annealing(Invariant(RandomWalk(1.0), moves=3), Adaptive(0.8), 300),
    "jarzynski": Annealing(Jarzynski(0.03), Ladder.power(40, 2.0), 200, resampler=None),
    "jarzynski-resampled": Annealing(Jarzynski(0.03), Ladder.power(40, 2.0), 200),
}
RUNS = 60


@eqx.filter_jit
def many(method, problem, key, runs=RUNS):
    go = lambda k: solve(method, problem, max_steps=60, key=k, throw=False)  # noqa: E731
    return jax.vmap(go)(jax.random.split(key, runs))


@pytest.mark.parametrize("name", METHODS)
def test_z_is_unbiased_and_its_error_is_what_the_runs_say(name, key):
    found = many(METHODS[name], PROBLEM, key)
    assert bool((found.status == Status.converged).all())
    ratio = np.exp(np.asarray(found.value.tally.log_z, float) - 2.5)
    assert_z(ratio.mean(), 1.0, ratio.std(ddof=1) / np.sqrt(RUNS), max_stderr=0.05)
    # Own variances against the spread of the runs: the variance of RUNS numbers is known to sqrt(2/RUNS).
    own = np.mean(np.asarray(found.value.tally.variance, float))
    assert 0.5 < own / ratio.var(ddof=1) < 2.0
    evidence = found.value.evidence()
    assert evidence.status == Status.converged
    assert evidence.interval(0.999)[0] < 2.5 < evidence.interval(0.999)[1]


def test_without_the_weights_of_the_path_z_is_wrong(key):
    """The twin: Langevin steps at a large step with weights as if they kept the rung."""

    class Careless(Jarzynski):
        def before(self, x, log_ratio, beta, new):
            return (new - beta) * log_ratio

        def __call__(self, problem, kernel, x, beta, new, *, key):
            y, log_w, *rest = super().__call__(problem, kernel, x, beta, new, key=key)
            return y, jnp.zeros_like(log_w), *rest

    for mover, fails in ((Jarzynski(0.15), False), (Careless(0.15), True)):
        found = many(Annealing(mover, Ladder.power(40, 2.0), 200, resampler=None), PROBLEM, key)
        ratio = np.exp(np.asarray(found.value.tally.log_z, float) - 2.5)
        z = (ratio.mean() - 1) / (ratio.std(ddof=1) / np.sqrt(RUNS))
        assert bool(abs(z) > 4.5) is fails, z


def test_the_weighted_cloud_has_the_moments_of_the_target(key):
    found = many(METHODS["smc"], PROBLEM, key)
    means = np.asarray(jax.vmap(lambda c: c.expectation(lambda x: x).mean)(found.value.cloud), float)
    assert_z(means.mean(0), np.asarray(TARGET.mean, float), means.std(0, ddof=1) / np.sqrt(RUNS))


@pytest.mark.parametrize(
    ("target", "spread"),
    [(Banana(0.1, 2.0), 4.0), (ManyWell(4, 2), 2.0), (PhiFour((6,)), 1.5), (posterior("diabetes"), 1.0)],
    ids=["banana", "many-well", "phi-four", "diabetes"],
)
def test_known_answers(target, spread, key):
    problem = Tempering(Normal(jnp.zeros(target.event), spread), target)
    method = Annealing(Invariant(HMC(0.2, leaps=6), moves=2), Adaptive(0.8), 500)
    found = many(method, problem, key, 8).value.evidence()
    assert found.status == Status.converged
    assert_z(float(found.log_z.mean), float(target.log_z), float(found.log_z.stderr), max_stderr=0.2)


def test_too_few_rungs_are_refused(key):
    far = Normal(jnp.full(10, 8.0), 0.3)
    method = Annealing(Invariant(HMC(0.1)), Ladder([0.0, 1.0]), 200, resampler=None)
    found = solve(method, Tempering(Normal(jnp.zeros(10)), far), max_steps=2, key=key, throw=False)
    assert found.value.evidence().status == Status.weights_degenerate


def test_what_goes_wrong_has_a_status(key):
    nothing = Density(lambda x: jnp.where(x[0] > 1e3, 0.0, -jnp.inf), (2,))
    method = Annealing(Invariant(HMC(0.3)), Ladder.power(3), 100)
    with pytest.raises(StatusError, match="weights collapsed"):
        solve(method, Tempering(Normal(jnp.zeros(2)), nothing), max_steps=5, key=key)
    huge = Annealing(Invariant(HMC(1e4), tuning=0.0), Ladder.power(3), 100)
    with pytest.raises(StatusError, match="almost every proposal was rejected"):
        solve(huge, PROBLEM, max_steps=5, key=key)
    broken = Density(lambda x: jnp.log(x[0]) - x[0], (2,))
    with pytest.raises(StatusError, match="non-finite"):
        solve(method, Tempering(Normal(jnp.zeros(2)), broken), max_steps=5, key=key)


def test_bad_input():
    with pytest.raises(InputError, match="particles=1"):
        Annealing(Jarzynski(0.1), particles=1)
    with pytest.raises(InputError, match="threshold"):
        Annealing(Jarzynski(0.1), threshold=2.0)
    assert METHODS["ais"].gradients(20) == 20 * 200 * 2
