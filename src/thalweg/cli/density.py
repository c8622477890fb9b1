"""`thalweg sample-density`: draws and log Z of a log density in a Python file.

Answers    which function, base, kernel and number of particles do the words stand for, and how did the runs end
Writes     run.json (options, status, evidence), draws.npz (x, log_prob, log_w, replicate), history.json (the rungs),
           checkpoints/; `thalweg report` makes report.html of them
Method     sequential Monte Carlo from a Gaussian base, several independent runs together; log Z from all of them
"""

import hashlib
import importlib.util
import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import InputError, choose
from .rundir import DENSITY, RunDir, dumps

KERNELS = ("hmc", "mala", "random-walk")
# Rungs after which a ladder has gone wrong.
MOST = 2000


@dataclass(frozen=True)
class DensityOptions:
    """The options of `sample-density`."""

    density: str
    dim: str
    particles: int = 1000
    replicates: int = 4
    kernel: str = "hmc"
    step: float = 0.3
    moves: int = 2
    share: float = 0.9
    base_mean: float = 0.0
    base_std: float = 3.0
    seed: int = 0


def parse_shape(text: str) -> tuple[int, ...]:
    """`5` or `4,3`: the shape of one point.

    Raises:
        InputError: for anything else.
    """
    try:
        shape = tuple(int(n) for n in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(f"--dim is {text!r}; expected a number of at least 1, or several separated by commas")
    return shape


def load_function(spec: str):
    """The function that `FILE.py:NAME` names; running the file is what it is for.

    Raises:
        InputError: for a file that is not there or fails, or a name that is no function in it.
    """
    file, _, name = spec.rpartition(":")
    if not file or not name:
        raise InputError(f"{spec!r}: expected FILE.py:FUNCTION, such as target.py:log_prob")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"there is no file {file}; expected a Python file that defines {name}(x)")
    found = importlib.util.spec_from_file_location(path.stem, path)
    if found is None or found.loader is None:
        raise InputError(f"{file} is no Python file; expected one that defines {name}(x)")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{file} failed as it was run: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, name, None)):
        functions = sorted(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
        raise InputError(f"{file} has no function {name}; it has {', '.join(functions) or 'none'}")
    return getattr(module, name)


class Prepared(NamedTuple):
    """What the options stand for."""

    options: DensityOptions
    method: Any
    problem: Any
    key: Any


def prepare(options: DensityOptions) -> Prepared:
    """The method, the problem and the key that the options stand for; the user's file is run once, here.

    Raises:
        InputError: for a bad option, or a log density that cannot be evaluated at the base's mean.
    """
    import jax
    import jax.numpy as jnp

    from ..problems import Density, Normal, check
    from ..sampling import HMC, MALA, Adaptive, Annealing, Invariant, RandomWalk, Replicates, Tempering

    choose("kernel", options.kernel, KERNELS)
    for name, value in (("particles", options.particles - 1), ("replicates", options.replicates)):
        if value < 1:
            raise InputError(f"--{name} is {getattr(options, name)}; expected at least {2 if name[0] == 'p' else 1}")
    for name, value in (("step", options.step), ("base-std", options.base_std)):
        if not 0 < value < float("inf"):
            raise InputError(f"--{name} is {value:g}; expected a positive number")
    shape = parse_shape(options.dim)
    target = Density(load_function(options.density), shape)
    base = Normal(jnp.full(shape, options.base_mean), options.base_std)
    check(target, base.mean, options.density)
    step = jnp.asarray(options.step)
    made = {"hmc": lambda: HMC(step_size=step, leaps=4), "mala": lambda: MALA(step_size=step)}
    kernel = made.get(options.kernel, lambda: RandomWalk(step_size=step))()
    method = Annealing(Invariant(kernel, options.moves), Adaptive(options.share), options.particles)
    key = jax.random.key(options.seed)
    return Prepared(options, Replicates(method, options.replicates), Tempering(base, target), key)


def begin(options: DensityOptions, out: Path, *, overwrite: bool) -> tuple[RunDir, Prepared]:
    """A new run directory, with the file's own place so that the run can be resumed from anywhere."""
    from ..core.io import versions

    prepared = prepare(options)
    file, _, name = options.density.rpartition(":")
    record = {
        "options": asdict(options) | {"density": f"{Path(file).resolve()}:{name}"},
        "data": {"density": {"name": f"{Path(file).name}:{name}", "sha256": _digest(file)}},
        "versions": versions(),
        "started": time.strftime("%Y-%m-%d %H:%M"),
        "status": "running",
    }
    return RunDir.create(out, record, overwrite=overwrite, kind=DENSITY), prepared


def reopen(path: Path) -> tuple[RunDir, Prepared]:
    """The run to go on with."""
    run = RunDir.open(path, kind=DENSITY)
    file = run.options["density"].rpartition(":")[0]
    # A file that is gone has a clearer line of its own, below.
    if Path(file).is_file() and _digest(file) != run.record["data"]["density"]["sha256"]:
        raise InputError(f"{file} has changed since the run began; start a new run, with --out")
    return run, prepare(DensityOptions(**run.options))


def sample_density(run: RunDir, prepared: Prepared, *, quiet: bool, level: float) -> dict[str, Any]:
    """Run to the end, write draws and evidence, and say how it went.

    Raises:
        InputError: for a bad option; StatusError for a NaN in the log density; Interrupted on Ctrl-C.
    """
    import jax

    from ..core import Status, StatusError, progress_bar, run_chunks, succeeded

    options, method, problem, key = prepared
    if not 0 < level < 1:
        raise InputError(f"--level is {level:g}; expected a number between 0 and 1")
    began, cost = time.monotonic(), _cost(method)
    with progress_bar(f"log Z of {Path(options.density).name}", quiet=quiet, until=True) as progress:
        result = run_chunks(
            method, problem, steps=MOST, key=key, until=True, chunk=1, directory=run.checkpoints, save_seconds=2.0,
            resume=run.can_resume(), progress=progress,
        )  # fmt: skip
    if bool(result.status == Status.nonfinite):
        run.update(status=Status[result.status])
        raise StatusError(f"{options.density}: {_where(problem.target, result) or Status[result.status]}", result)
    value = result.value
    evidence = value.evidence()
    # A run that ended badly taints what was made of all of them.
    status = evidence.status if bool(succeeded(result.status)) else result.status
    trusted = bool(succeeded(status))
    rungs = _rungs(result.info)
    x, log_w = np.asarray(value.cloud.x), np.asarray(value.cloud.log_w + (value.tally.log_z)[:, None])
    log_prob = np.asarray(jax.vmap(jax.vmap(problem.target.log_prob))(value.cloud.x))
    flat = x.reshape(-1, *x.shape[2:])
    log_w = log_w.ravel().astype(float) - log_w.max()
    log_w -= np.log(np.exp(log_w).sum())
    w = np.exp(log_w)
    mean = np.tensordot(w, flat, 1)
    std = np.sqrt(np.tensordot(w, (flat - mean) ** 2, 1))
    summary = {
        "run": str(run.path),
        "trusted": trusted,
        "status": Status[status],
        "log_z": float(evidence.log_z.mean),
        "log_z_stderr": float(evidence.log_z.stderr),
        "interval": list(evidence.interval(level)) if trusted else None,
        "level": level,
        "run_stderr": float(evidence.run_stderr),
        "replicate_stderr": float(evidence.replicate_stderr),
        "replicates": np.asarray(value.tally.log_z, float).tolist(),
        "replicate_errors": np.sqrt(np.asarray(value.tally.variance, float)).tolist(),
        "ess": float(evidence.ess),
        "khat": float(evidence.khat),
        "rungs": int(result.num_steps),
        "acceptance": [float(a[np.isfinite(a)][-1]) for a in rungs["accept"].T],
        "mean": mean.tolist(),
        "std": std.tolist(),
        "gradients": int(result.num_steps) * options.replicates * options.particles * cost,
        "seconds": round(time.monotonic() - began, 3),
    }
    _write(run, flat, log_prob.ravel(), log_w, options)
    run.write("history.json", dumps({name: values.tolist() for name, values in rungs.items()}))
    run.update(status="done", evidence=summary)
    return summary


def report(run: RunDir, out: Path | None) -> tuple[dict[str, Any], Path]:
    """The answer and the path of the page that shows it.

    Raises:
        InputError: for a run that has not ended, or whose draws are missing or damaged.
    """
    from ..core.io import write_atomic
    from ..report import DensityRun, Record, render_density
    from .certificate import given

    summary, draws = run.record.get("evidence"), run.path / "draws.npz"
    if summary is None:
        resume = f"thalweg sample-density --resume {run.path}"
        raise InputError(f"{run.path} has no answer yet (the run is {run.record.get('status')}); go on with: {resume}")
    try:
        with np.load(draws) as found:
            x, log_w, replicate = (found[name] for name in ("x", "log_w", "replicate"))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{draws} is missing or damaged ({error}); make it again with sample-density") from error
    rungs = {name: np.asarray(values, float) for name, values in run.history().items()}
    options = given(run.options, vars(DensityOptions(density="", dim="")))
    words = " ".join(f"--{name} {value}" for name, value in options.items() if name != "density")
    name = run.record["data"]["density"]["name"]
    record = Record(
        title=name,
        facts={
            "density": f"{name}, points of shape {run.options['dim']}",
            "method": "sequential Monte Carlo, adaptive rungs",
            "kernel": f"{run.options['kernel']}, {run.options['moves']} moves a rung",
            "base": f"normal, mean {run.options['base_mean']:g}, standard deviation {run.options['base_std']:g}",
            "made": run.record["started"],
        },
        options=options,
        data=run.record["data"],
        versions=run.record["versions"],
        commands=[
            f"thalweg sample-density {shlex.quote(run.options['density'])} {words} --out {shlex.quote(str(run.path))}",
            f"thalweg report {shlex.quote(str(run.path))}",
        ],
    )
    path = out if out is not None else run.path / "report.html"
    page = render_density(DensityRun(summary, rungs, x, log_w, replicate), record)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, page)
    return summary, path


def _where(target, result) -> str:
    """A particle at which the log density is no number, in words; nothing where there is none."""
    import jax

    x = np.asarray(result.state.state.each.x).reshape(-1, *target.event)
    log_prob = np.asarray(jax.vmap(target.log_prob)(x))
    at = np.flatnonzero(np.isnan(log_prob) | (log_prob == np.inf))
    if not len(at):
        return ""
    point = np.array2string(x[at[0]], precision=4, threshold=8).replace("\n", " ")
    return (
        f"the log density is {log_prob[at[0]]} at x = {point} and {len(at) - 1} other points; expected a number or -inf"
    )


def _digest(file) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _rungs(info) -> dict[str, np.ndarray]:
    """What is told of each rung and run, NaN for the rows of a run that had ended before."""
    ended = np.asarray(info.ended)
    over = np.concatenate([np.zeros_like(ended[:1]), ended[:-1]])
    rows = {name: getattr(info.each, name) for name in ("beta", "log_z", "ess", "accept")}
    return {name: np.where(over, np.nan, np.asarray(values, float)) for name, values in rows.items()}


def _cost(replicates) -> int:
    return replicates.method.mover.cost()


def _write(run, x, log_prob, log_w, options):
    from .files import write_samples

    which = np.repeat(np.arange(options.replicates), options.particles)
    write_samples(run.path / "draws.npz", x, {"log_prob": log_prob, "log_w": log_w, "replicate": which}, None)


def show(summary: dict[str, Any]) -> None:
    """The answer, or why there is none."""
    if summary["trusted"]:
        low, high = summary["interval"]
        print(f"log Z = {summary['log_z']:.4f} ± {summary['log_z_stderr']:.2g}", end="")
        print(f", {100 * summary['level']:.0f} % interval [{low:.4f}, {high:.4f}]")
    else:
        print(f"log Z REFUSED ({summary['log_z']:.4g} would be the estimate): {summary['status']}")
    spread = "one run" if len(summary["replicates"]) == 1 else f"spread of runs {summary['replicate_stderr']:.2g}"
    print(f"errors: the runs' own {summary['run_stderr']:.2g}, {spread}; ESS {summary['ess']:.0f}", end="")
    print(f", k-hat {summary['khat']:.2f}, {summary['rungs']} rungs, {summary['gradients']} gradients")
    mean, std = np.ravel(summary["mean"]), np.ravel(summary["std"])
    for i in range(min(len(mean), 8)):
        print(f"x[{i}]  mean {mean[i]:.4g}  sd {std[i]:.4g}")
    if len(mean) > 8:
        print(f"... {len(mean) - 8} more coordinates in draws.npz")
    print(f"{summary['run']}/draws.npz")
