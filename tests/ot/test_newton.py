"""Newton steps with a sparse Hessian: the same plan, far fewer steps, and what happens when a step fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, Status, StatusError, run, solve
from thalweg.ot import KL, Potentials, Sinkhorn, SinkhornNewton, Transport
from thalweg.ot import newton as module

KEY = jax.random.key(0)


def random_costs(n, m, dtype=float):
    rng = np.random.default_rng(0)
    cost = jnp.asarray(rng.uniform(size=(n, m)) * np.linspace(0.5, 1.5, m), dtype)
    return Transport(
        cost, jnp.asarray(rng.dirichlet(np.full(n, 4.0)), dtype), jnp.asarray(rng.dirichlet(np.full(m, 9.0)), dtype)
    )


def test_the_plan_is_sinkhorns(x64):
    problem = random_costs(40, 31)
    newton = solve(SinkhornNewton(0.02, 1e-11, entries=12), problem, max_steps=200, key=KEY)
    sinkhorn = solve(Sinkhorn(0.02, 1e-11), problem, max_steps=20_000, key=KEY)
    np.testing.assert_allclose(newton.value.matrix, sinkhorn.value.matrix, atol=1e-10)
    assert float(newton.value.marginal_error()) < 1e-10


def test_the_papers_count_of_newton_steps(x64):
    # Random costs at eta = 1200 and density 15/n, at a smaller n: a few quadratic steps after the sweeps.
    n = 200
    cost = jnp.asarray(np.random.default_rng(0).uniform(size=(n, n)))
    problem = Transport.uniform(cost)
    found = solve(SinkhornNewton(1 / 1200, 1e-13, entries=15, decay=1.0), problem, max_steps=60, key=KEY)
    assert int(found.info.newton.sum()) <= 20
    assert int(found.info.fallback.sum()) == 0
    assert float(found.value.marginal_error()) < 1e-12
    plain = run(Sinkhorn(1 / 1200, 1e-13, relax=False, decay=1.0), problem, steps=int(found.num_steps), key=KEY)
    assert float(plain.value.marginal_error()) > 1e-4


def test_steps_converge_faster_than_any_line(x64):
    problem = random_costs(60, 60)
    errors = np.asarray(
        solve(SinkhornNewton(0.01, 1e-12, entries=60, decay=1.0), problem, max_steps=60, key=KEY).info.marginal_error
    )
    tail = errors[(errors < 1e-2) & (errors > 1e-13)]
    ratios = tail[1:] / tail[:-1]
    assert ratios[-1] < 0.05 * ratios[0]


def test_few_entries_still_converge_but_linearly(x64):
    problem = random_costs(60, 60)
    dense, sparse = (
        solve(SinkhornNewton(0.02, 1e-11, entries=k, decay=1.0), problem, max_steps=400, key=KEY) for k in (60, 4)
    )
    assert int(sparse.num_steps) > int(dense.num_steps)
    np.testing.assert_allclose(sparse.value.matrix, dense.value.matrix, atol=1e-9)


def test_down_to_a_millionth(x64):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 2)), rng.normal(size=(70, 2)) * [2.0, 0.3] + 1
    problem = Transport.points(jnp.asarray(x), jnp.asarray(y), jnp.asarray(rng.dirichlet(np.ones(50)))).stored()
    top = float(problem.geometry.extremes()[1])
    found = solve(SinkhornNewton(1e-6 * top, 1e-8), problem, max_steps=600, key=KEY)
    import ot

    exact = ot.emd2(*(np.asarray(w) for w in (problem.a, problem.b)), np.asarray(problem.geometry.matrix()))
    np.testing.assert_allclose(float(found.value.transport_cost()), exact, rtol=1e-5)


def test_single_precision_says_so_when_it_cannot():
    problem = random_costs(30, 30, jnp.float32)
    found = solve(SinkhornNewton(2e-5, 1e-9), problem, max_steps=400, key=KEY, throw=False)
    assert found.status == Status.precision
    assert np.isfinite(found.value.marginal_error())
    with pytest.raises(StatusError, match=r"compute in float64"):
        solve(SinkhornNewton(2e-5, 1e-9), problem, max_steps=400, key=KEY)


def test_a_direction_that_fails_becomes_a_sweep_and_is_counted(x64, monkeypatch):
    problem = random_costs(40, 31)
    right = module.conjugate_gradients

    def uphill(matrix, precondition, b, accuracy, most):
        x, steps = right(matrix, precondition, b, accuracy, most)
        return -x, steps

    monkeypatch.setattr(module, "conjugate_gradients", uphill)
    method = SinkhornNewton(0.05, 1e-9, entries=11, sweeps=2, decay=1.0)
    found = solve(method, problem, max_steps=3000, key=KEY)
    assert int(found.info.fallback.sum()) == int(found.num_steps) - 2
    assert int(found.info.newton.sum()) == 0
    assert float(found.value.marginal_error()) < 1e-8


def test_a_far_start_does_not_overflow(x64):
    problem = random_costs(20, 20)
    wild = Potentials(1e4 * jnp.linspace(-1, 1, 20) ** 3, jnp.zeros(20))
    found = solve(SinkhornNewton(1e-3, 1e-6, warm=wild), problem, max_steps=100, key=KEY, throw=False)
    # From there a fixed small epsilon need not be reached; but it is refused with finite numbers.
    assert found.status in (Status.converged, Status.precision, Status.max_steps)
    assert np.isfinite(found.value.marginal_error())


def test_zero_weights_and_single_points(x64):
    problem = random_costs(6, 5)
    a = problem.a.at[2].set(0.0)
    found = solve(
        SinkhornNewton(0.01, 1e-10), Transport(problem.geometry, a / a.sum(), problem.b), max_steps=200, key=KEY
    )
    assert float(found.value.matrix[2].sum()) == 0
    one = solve(SinkhornNewton(0.01, 1e-10), Transport.uniform(jnp.ones((1, 4))), max_steps=50, key=KEY)
    np.testing.assert_allclose(one.value.matrix, 0.25)


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"epsilon": 0.0}, r"positive regularisation"),
        ({"epsilon": 0.1, "tolerance": 0.0}, r"tolerance=0.0"),
        ({"epsilon": 0.1, "entries": 0}, r"entries=0"),
        ({"epsilon": 0.1, "decay": 1.5}, r"decay=1.5"),
    ],
)
def test_bad_choices(choices, text):
    with pytest.raises(InputError, match=text):
        SinkhornNewton(**choices)


def test_unbalanced_problems_are_refused():
    with pytest.raises(InputError, match=r"take Sinkhorn"):
        solve(
            SinkhornNewton(0.1),
            Transport(jnp.ones((2, 2)), *2 * [jnp.asarray([0.4, 0.6])], KL(1.0)),
            max_steps=2,
            key=KEY,
        )
