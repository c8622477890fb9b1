"""Long runs: the same bits however they are cut, interrupted or killed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.core.test_fit import Line, Squares, batches, poisoned
from tests.core.test_method import Heron
from thalweg.core import CheckpointError, Fit, InputError, Interrupted, Status, progress_bar, run_chunks, solve

KEY = jax.random.key(5)


def trained(steps, problem=batches, key=KEY, **options):
    fit = Fit(Squares(), Line(jnp.zeros(3)), optax.adam(0.05), ema=0.9)
    return run_chunks(fit, problem, steps=steps, key=key, chunk=8, **options)


def assert_same(a, b):
    assert jax.tree.all(jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), a.state, b.state))
    np.testing.assert_array_equal(a.info.loss, b.info.loss)


def test_resuming_gives_the_same_bits(tmp_path):
    whole = trained(45)
    trained(21, directory=tmp_path, save_seconds=0.0)
    rest = trained(45, directory=tmp_path, resume=True)
    assert_same(whole, rest)
    assert len(list(tmp_path.glob("step-*"))) == 2


def test_interrupted_in_any_chunk(tmp_path):
    whole = trained(40)
    for stop in (8, 24, 32):
        where = tmp_path / str(stop)

        def break_at(step, steps, seconds, last, stop=stop):
            if step == stop:
                raise KeyboardInterrupt

        with pytest.raises(Interrupted) as caught:
            trained(40, directory=where, progress=break_at, save_seconds=1e9)
        assert caught.value.step == stop
        assert_same(whole, trained(40, directory=where, resume=True))


def test_a_bad_loss_ends_it_early(tmp_path):
    result = trained(4000, poisoned, directory=tmp_path)
    assert result.status == Status.nonfinite
    assert int(result.num_steps) < 4000
    assert np.isfinite(result.value.w).all()


def test_what_cannot_be_resumed(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint"):
        trained(10, directory=tmp_path, resume=True)
    trained(16, directory=tmp_path)
    with pytest.raises(CheckpointError, match=r"another seed"):
        trained(20, directory=tmp_path, resume=True, key=jax.random.key(6))
    with pytest.raises(InputError, match=r"expected at least 1"):
        run_chunks(None, None, steps=1, key=KEY, chunk=0)


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    whole = trained(16, directory=tmp_path)
    assert_same(whole, trained(16, directory=tmp_path, resume=True))


def test_progress_tells_loss_rate_and_time_left(capsys):
    with progress_bar("fit") as progress:
        trained(16, progress=progress)
    said = capsys.readouterr()
    assert said.out == ""
    assert "step 16 of 16" in said.err
    assert "loss" in said.err
    assert "steps/s" in said.err
    with progress_bar("fit", quiet=True) as progress:
        assert progress is None


@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_an_iteration_stops_at_the_step_at_which_it_converged(chunk, tmp_path):
    alone = solve(Heron(), jnp.asarray(7.0), max_steps=50, key=KEY)
    told = []
    cut = run_chunks(
        Heron(), jnp.asarray(7.0), steps=50, key=KEY, until=True, chunk=chunk, directory=tmp_path, save_seconds=0.0,
        progress=lambda step, steps, seconds, last: told.append(step),
    )  # fmt: skip
    taken = int(alone.num_steps)
    assert cut.status == alone.status == Status.converged
    assert int(cut.num_steps) == told[-1] == taken < 50
    assert told == [*range(chunk, taken, chunk), taken]
    np.testing.assert_array_equal(cut.value, alone.value)
    again = run_chunks(
        Heron(), jnp.asarray(7.0), steps=50, key=KEY, until=True, chunk=chunk, directory=tmp_path, resume=True
    )
    assert int(again.num_steps) == taken
    assert again.status == Status.converged
    short = run_chunks(Heron(), jnp.asarray(7.0), steps=2, key=KEY, until=True, chunk=chunk)
    assert short.status == Status.max_steps
