"""Looking on changes nothing: the same bits with progress as without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, Status
from thalweg.ot import Sinkhorn, SinkhornNewton, Transport, progress, sinkhorn_divergence, solve

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(300, 2)), RNG.normal(size=(210, 2)) * [1.5, 0.5] + [0.5, -1]
PROBLEM = Transport.points(jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32), block=64)


@pytest.fixture(params=[1, 3, 100])
def chunk(request, monkeypatch):
    monkeypatch.setattr(progress, "WORK", request.param * 300 * 210)
    return request.param


@pytest.mark.parametrize("method", [Sinkhorn(0.05), SinkhornNewton(0.05, 1e-3)])
def test_the_same_bits(method, chunk):
    reports = []
    alone = solve(PROBLEM, 0.05, method=method)
    watched = solve(PROBLEM, 0.05, method=method, progress=lambda *report: reports.append(report))
    for name in ("value", "transport_cost", "marginal_error", "sinkhorn_steps", "newton_steps", "cg_steps"):
        np.testing.assert_array_equal(getattr(watched, name), getattr(alone, name))
    np.testing.assert_array_equal(watched.potentials.f, alone.potentials.f)
    np.testing.assert_array_equal(watched.potentials.g, alone.potentials.g)
    taken = int(alone.sinkhorn_steps) + int(alone.newton_steps)
    assert [r[0] for r in reports] == [*range(chunk, taken, chunk), taken]
    step, most, seconds, last = reports[-1]
    assert (step, most) == (taken, 5000)
    assert seconds > 0
    assert last["epsilon"] == pytest.approx(0.05)
    assert 0 < last["marginal_error"] < 1e-3


def test_a_divergence_reports_its_three_problems(chunk):
    reports = []
    alone = sinkhorn_divergence(PROBLEM, 0.1)
    watched = sinkhorn_divergence(PROBLEM, 0.1, progress=lambda *report: reports.append(report))
    np.testing.assert_array_equal(watched.value, alone.value)
    np.testing.assert_array_equal(watched.marginal_error, alone.marginal_error)
    assert list(dict.fromkeys(r[3]["problem"] for r in reports)) == ["cross", "left", "right"]


def test_the_end_by_number_of_steps(chunk):
    reports = []
    left = solve(
        PROBLEM, 0.01, method=Sinkhorn(0.01, 1e-9), max_steps=7, throw=False, progress=lambda *r: reports.append(r)
    )
    assert left.status == Status.max_steps
    assert int(left.sinkhorn_steps) == reports[-1][0] == 7


def test_inside_a_compiled_function_it_is_refused():
    with pytest.raises(InputError, match=r"leave it out inside jit"):
        jax.jit(lambda x: solve(Transport.points(x, Y), 0.1, progress=print).value)(jnp.asarray(X))
