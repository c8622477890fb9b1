"""Long runs: `run` in chunks, with progress, checkpoints, and resuming to the same bits.

A chunk is one compiled scan; between chunks the host reports progress and, now and then, writes a checkpoint: the
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
from .method import Carry, Result, Status, run, start, succeeded
from .types import Key

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
    chunk: int = 200,
    directory: Path | None = None,
    save_seconds: float = 10.0,
    resume: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Run `method` up to step `steps`, in chunks.

    Args:
        method, problem, steps, key: as for `run`; `steps` counts from the very start, also when resuming. A method
            that says it has converged is stopped at the end of the chunk.
        chunk: steps in one compiled scan; a failing status is noticed at the end of a chunk.
        directory: where checkpoints go (`step-00000400/`, the last two are kept), or None for none.
        save_seconds: least time between checkpoints; 0 saves after every chunk. The last step is always saved.
        resume: go on from the newest checkpoint in `directory`, which must exist.
        progress: called after each chunk with (step, steps, seconds, last row of info as floats).

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
    result = run(method, problem, steps=0, key=key, state=carry, throw=False)
    try:
        while step < steps:
            take = min(chunk - step % chunk, steps - step)
            result = run(method, problem, steps=take, key=key, state=carry, throw=False)
            rows = jax.device_get(result.info)
            carry, step = result.state, int(result.num_steps)
            info = rows if info is None else jax.tree.map(lambda a, b: np.concatenate([a, b]), info, rows)
            if progress is not None:
                progress(step, steps, (time.monotonic() - began) / (step - first), _last(rows))
            done = bool(carry.status == Status.converged)
            ended = step >= steps or done or not bool(succeeded(result.status))
            if directory is not None and (ended or time.monotonic() - saved >= save_seconds):
                _save(directory, carry, info, key)
                saved = time.monotonic()
            if done:
                result = eqx.tree_at(lambda r: r.status, result, carry.status)
            if ended:
                break
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


def _last(rows) -> dict:
    last = {}
    for path, x in jax.tree_util.tree_leaves_with_path(rows):
        if np.ndim(x) == 1 and jnp.issubdtype(x.dtype, jnp.floating):
            last[jax.tree_util.keystr(path).strip(".")] = float(np.mean(x))
    return last


@contextlib.contextmanager
def progress_bar(label: str, *, quiet: bool = False):
    """A progress callback for `run_chunks` that draws loss, rate and time left on stderr.

    On a stream that is not a terminal it prints a line every ten seconds instead; `quiet` prints nothing.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if quiet:
        yield None
        return
    if not console.is_terminal:
        yield _line_progress(console, label)
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")]
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=False) as bar:
        task = bar.add_task(label, total=None, note="compiling")

        def show(step, steps, seconds, last):
            bar.update(task, completed=step, total=steps, note=_note(seconds, last))

        yield show


def _line_progress(console, label):
    shown = [0.0]

    def show(step, steps, seconds, last):
        if step >= steps or time.monotonic() - shown[0] > 10:
            shown[0] = time.monotonic()
            left = (steps - step) * seconds
            console.print(f"{label}: step {step}/{steps}  {_note(seconds, last)}  {left:.0f} s left", highlight=False)

    return show


def _note(seconds, last):
    loss = f"loss {last['loss']:.4f}  " if "loss" in last else ""
    return f"{loss}{1 / seconds:.0f} steps/s"
