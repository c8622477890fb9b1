"""Long runs: `run` or `solve` in chunks, with progress, checkpoints, and resuming to the same bits.

A chunk is one compiled loop; between chunks the host reports progress and, now and then, writes a checkpoint: the
carry (parameters, optimiser state, step), the key, and the info so far. Chunk boundaries are multiples of `chunk` from
step 0, whenever the run was killed, so the same compiled code sees the same numbers.
"""

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .errors import CheckpointError, InputError
from .io import load_leaves, read_meta, save_leaves
from .method import Carry, Result, Status, run, solve, start, succeeded
from .types import Key

# What a progress bar shows of a row of info, where it is there.
TOLD = ("loss", "marginal_error", "beta", "accept")

Progress = Callable[[int, int, float, dict], None]


class Interrupted(KeyboardInterrupt):
    """A run stopped by Ctrl-C, after its state was saved. `step` says where."""

    def __init__(self, step: int, directory: Path | None):
        super().__init__(f"stopped at step {step}")
        self.step, self.directory = step, directory


def run_chunks(
    method,
    problem,
    *,
    steps: int,
    key: Key,
    until: bool = False,
    chunk: int = 200,
    directory: Path | None = None,
    save_seconds: float = 10.0,
    resume: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Run `method` up to step `steps`, in chunks.

    Args:
        method, problem, steps, key: as for `run`; `steps` counts from the very start, also when resuming.
        until: stop at the step at which the method says that it has converged, as `solve` does.
        chunk: steps in one compiled loop; a failing status is noticed at the end of a chunk.
        directory: where checkpoints go (`step-00000400/`, the last two are kept), or None for none.
        save_seconds: least time between checkpoints; 0 saves after every chunk. The last step is always saved.
        resume: go on from the newest checkpoint in `directory`, which must exist.
        progress: called after each chunk with (step, steps, seconds a step, floats of info): their means over the
            chunk, or with `until` their last row.

    Returns:
        A `Result` whose `info` covers every step from 0 on, as NumPy arrays.

    Raises:
        Interrupted: on Ctrl-C, after saving the last whole chunk.
        CheckpointError: when resuming from a directory with no, a damaged, or another run's checkpoint.
    """
    if chunk < 1:
        raise InputError(f"chunk is {chunk}; expected at least 1")
    carry, info = start(method, problem, key=key), None
    if resume:
        carry, info = _restore(method, problem, carry, key, _newest(directory))
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    began = saved = time.monotonic()
    first = step = int(carry.step)

    def advance(carry, take):
        if until:
            return solve(method, problem, max_steps=take, key=key, state=carry, throw=False)
        return run(method, problem, steps=take, key=key, state=carry, throw=False)

    def ended(carry):
        over = carry.status != Status.running if until else ~succeeded(carry.status)
        return int(carry.step) >= steps or bool(over)

    # Nothing may be left to do; then the answer is read out all the same.
    result = advance(carry, 0)
    try:
        while not ended(carry):
            result = advance(carry, min(chunk - step % chunk, steps - step))
            rows = jax.device_get(result.info)
            carry, step = result.state, int(result.num_steps)
            info = rows if info is None else jax.tree.map(lambda a, b: np.concatenate([a, b]), info, rows)
            if progress is not None:
                progress(step, steps, (time.monotonic() - began) / (step - first), _floats(rows, until))
            if directory is not None and (ended(carry) or time.monotonic() - saved >= save_seconds):
                _save(directory, carry, info, key)
                saved = time.monotonic()
    except KeyboardInterrupt:
        if directory is not None and step > 0:
            _save(directory, carry, info, key)
        raise Interrupted(step, directory) from None
    return eqx.tree_at(lambda r: r.info, result, info, is_leaf=lambda x: x is None)


def _save(directory, carry: Carry, info, key):
    step = int(carry.step)
    meta = {"step": step, "key": np.asarray(jax.random.key_data(key)).tolist(), "impl": str(jax.random.key_impl(key))}
    save_leaves(directory / f"step-{step:08d}", (carry, info), meta=meta)
    for old in _steps(directory)[:-2]:
        shutil.rmtree(old, ignore_errors=True)


def _restore(method, problem, carry, key, path):
    meta = read_meta(path)
    if meta["key"] != np.asarray(jax.random.key_data(key)).tolist():
        raise CheckpointError(f"{path} was made with another seed; resume with the seed of the run")
    row = eqx.filter_eval_shape(lambda: method.step(problem, carry.state, key=key)[1])
    like = jax.tree.map(lambda x: np.zeros((meta["step"], *x.shape), x.dtype), row)
    (carry, info), _ = load_leaves(path, (carry, like))
    return carry, info


def _steps(directory):
    return sorted(p for p in directory.glob("step-*") if p.is_dir())


def _newest(directory) -> Path:
    found = _steps(directory) if directory is not None and directory.is_dir() else []
    if not found:
        raise CheckpointError(f"there is no checkpoint in {directory} to resume from; start the run without resuming")
    return found[-1]


def _floats(rows, last: bool) -> dict:
    found = {}
    for path, x in jax.tree_util.tree_leaves_with_path(rows):
        # A second axis is one of replicates, or of particles.
        if np.ndim(x) in (1, 2) and np.size(x) and jnp.issubdtype(x.dtype, jnp.floating):
            found[jax.tree_util.keystr(path).strip(".")] = float(np.mean(x[-1] if last else x))
    return found


@contextlib.contextmanager
def progress_bar(label: str, *, quiet: bool = False, until: bool = False):
    """A progress callback for `run_chunks` that draws on stderr: steps; loss, marginal error, rung or
    acceptance; rate; time left.

    On a stream that is not a terminal it prints a line every ten seconds instead; `quiet` prints nothing.
    With `until`, as for `run_chunks`, nobody knows how much is left.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if quiet:
        yield None
        return
    if not console.is_terminal:
        yield _line_progress(console, label, until)
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")]
    columns += [] if until else [TimeRemainingColumn()]
    with Bar(*columns, console=console, transient=False) as bar:
        task = bar.add_task(label, total=None, note="compiling")

        def show(step, steps, seconds, last):
            bar.update(task, completed=step, total=steps, note=_note(seconds, last))

        yield show


def _line_progress(console, label, until):
    shown = [0.0]

    def show(step, steps, seconds, last):
        if step >= steps or time.monotonic() - shown[0] > 10:
            shown[0] = time.monotonic()
            left = "" if until else f"  {(steps - step) * seconds:.0f} s left"
            of = f"at most {steps}" if until else f"{steps}"
            console.print(f"{label}: step {step} of {of}  {_note(seconds, last)}{left}", highlight=False)

    return show


def _note(seconds, last):
    last = {name.rpartition(".")[2]: value for name, value in last.items()}
    told = [f"{name.replace('_', ' ')} {last[name]:.4g}" for name in TOLD if name in last]
    return "  ".join([*told, f"{1 / seconds:.3g} steps/s"])
