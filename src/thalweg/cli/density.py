"""`thalweg sample-density`: draws and log Z of a log density in a Python file.

Answers    which method do the words stand for, is log Z to be believed, and how did the runs end
Writes     run.json (options, status, evidence), draws.npz (x, log_prob, log_w, replicate), history.json (the rungs),
           checkpoints/; `thalweg report` makes report.html of them
Method     sequential Monte Carlo from a Gaussian base, several independent runs together; log Z from all of them.
           `--method chains` is `chains.py`, behind the same doors
"""

import shlex
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import InputError, choose
from . import chains
from .rundir import DENSITY, RunDir, dumps
from .target import DensityOptions, digest, option, prepare

KERNELS = ("hmc", "mala", "random-walk")
# Rungs after which a ladder has gone wrong.
MOST = 2000
LEVEL = 0.9


@dataclass(frozen=True)
class ParticlesOptions(DensityOptions):
    """The options of `sample-density --method smc`."""

    particles: int = 1000
    replicates: int = 4
    moves: int = 2
    share: float = 0.9


Options = ParticlesOptions | chains.ChainsOptions
METHODS: dict[str, type[Options]] = {"smc": ParticlesOptions, "chains": chains.ChainsOptions}


class Prepared(NamedTuple):
    """What the options stand for."""

    options: ParticlesOptions
    method: Any
    problem: Any
    key: Any


def chosen(given: dict[str, Any]) -> Options:
    """The options of the method that was chosen, from those that were given.

    Raises:
        InputError: for an unknown method, or an option of another one.
    """
    method = choose("method", given.get("method", DensityOptions.method), METHODS)
    names = {known: [f.name for f in fields(options)] for known, options in METHODS.items()}
    for name in given:
        if name not in names[method]:
            other = next(known for known in METHODS if name in names[known])
            raise InputError(f"{option(name)} is for --method {other}; this is --method {method}, so drop one of them")
    return METHODS[method](**given)


def prepared(options: Options) -> Prepared | chains.Prepared:
    """The method, the problem and the key that the options stand for; the user's file is run once, here.

    Raises:
        InputError: for a bad option, or a log density that cannot be evaluated where the runs start.
    """
    if isinstance(options, chains.ChainsOptions):
        return chains.prepared(options)
    from ..problems import check
    from ..sampling import Adaptive, Annealing, Invariant, Replicates, Tempering

    options.at_least(particles=2, replicates=1)
    target, base, kernel, key = prepare(options, KERNELS, leaps=4)
    check(target, base.mean, options.density)
    method = Annealing(Invariant(kernel, options.moves), Adaptive(options.share), options.particles)
    return Prepared(options, Replicates(method, options.replicates), Tempering(base, target), key)


def begin(options: Options, out: Path, *, overwrite: bool) -> tuple[RunDir, Prepared | chains.Prepared]:
    """A new run directory, with the file's own place so that the run can be resumed from anywhere."""
    from ..core.io import versions

    made = prepared(options)
    file, _, name = options.density.rpartition(":")
    record = {
        "options": options.record(),
        "data": {"density": {"name": f"{Path(file).name}:{name}", "sha256": digest(options.density)}},
        "versions": versions(),
        "started": time.strftime("%Y-%m-%d %H:%M"),
        "status": "running",
    }
    return RunDir.create(out, record, overwrite=overwrite, kind=DENSITY), made


def reopen(run: RunDir, options: Options) -> tuple[RunDir, Prepared | chains.Prepared]:
    """The run to go on with, whose file must be the one that it began with."""
    density = run.options["density"]
    file = density.rpartition(":")[0]
    # A file that is gone has a clearer line of its own, below.
    if Path(file).is_file() and digest(density) != run.record["data"]["density"]["sha256"]:
        raise InputError(f"{file} has changed since the run began; start a new run, with --out")
    return run, prepared(options)


def open_run(
    given: dict[str, Any], out: Path | None, *, overwrite: bool, resume: Path | None, level: float | None
) -> tuple[RunDir, Prepared | chains.Prepared]:
    """A new run of the options that were given, or the run to go on with.

    Raises:
        InputError: for options that are missing, bad, or do not go together.
    """
    if resume is None:
        for name, value in (("FILE.py:FUNCTION", given.get("density")), ("--dim", given.get("dim")), ("--out", out)):
            if value is None:
                raise InputError(f"sample-density needs {name} (or --resume RUN, to go on with a run)")
    if level is not None and not 0 < level < 1:
        raise InputError(f"--level is {level:g}; expected a number between 0 and 1")
    run = None if resume is None else RunDir.open(resume, kind=DENSITY)
    options = chosen(given if run is None else run.options)
    if level is not None and isinstance(options, chains.ChainsOptions):
        raise InputError("--level is for the interval of log Z, which chains do not give; drop it")
    return begin(options, Path(str(out)), overwrite=overwrite) if run is None else reopen(run, options)


def sample_density(
    run: RunDir, made: Prepared | chains.Prepared, *, quiet: bool, level: float | None
) -> dict[str, Any]:
    """Run to the end, write draws and evidence, and say how it went; `level` is that of the interval for log Z.

    Raises:
        StatusError: for a NaN in the log density; Interrupted on Ctrl-C.
    """
    if isinstance(made, chains.Prepared):
        return chains.sample(run, made, quiet=quiet)
    return _weighted(run, made, quiet=quiet, level=LEVEL if level is None else level)


def _weighted(run: RunDir, made: Prepared, *, quiet: bool, level: float) -> dict[str, Any]:
    import jax

    from ..core import Status, StatusError, progress_bar, run_chunks, succeeded

    options, method, problem, key = made
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
        "method": "smc",
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
    from ..report import Record
    from .certificate import given

    summary = run.record.get("evidence")
    if summary is None:
        resume = f"thalweg sample-density --resume {run.path}"
        raise InputError(f"{run.path} has no answer yet (the run is {run.record.get('status')}); go on with: {resume}")
    method = run.options.get("method", DensityOptions.method)
    page, facts = (chains.page, chains.facts) if method == "chains" else (_page, _facts)
    # The method is always told: its default is not that of all options.
    options = given(run.options, vars(METHODS[method](density="", dim="")) | {"method": DensityOptions.method})
    words = " ".join(f"--{name} {value}" for name, value in options.items() if name != "density")
    name = run.record["data"]["density"]["name"]
    about = {"density": f"{name}, points of shape {run.options['dim']}", **facts(run), "made": run.record["started"]}
    record = Record(
        title=name,
        facts=about,
        options=options,
        data=run.record["data"],
        versions=run.record["versions"],
        commands=[
            f"thalweg sample-density {shlex.quote(run.options['density'])} {words} --out {shlex.quote(str(run.path))}",
            f"thalweg report {shlex.quote(str(run.path))}",
        ],
    )
    path = out if out is not None else run.path / "report.html"
    text = page(run, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text)
    return summary, path


def _page(run, record):
    from ..report import DensityRun, render_density
    from .files import read_arrays

    names = ("x", "log_w", "replicate")
    x, log_w, replicate = read_arrays(run.path / "draws.npz", names, "make it again with sample-density")
    rungs = {name: np.asarray(values, float) for name, values in run.history().items()}
    return render_density(DensityRun(x, log_w, replicate, run.record["evidence"], rungs), record)


def _facts(run):
    return {
        "method": "sequential Monte Carlo, adaptive rungs",
        "kernel": f"{run.options['kernel']}, {run.options['moves']} moves a rung",
        "base": f"normal, mean {run.options['base_mean']:g}, standard deviation {run.options['base_std']:g}",
    }


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
    if summary["method"] == "chains":
        chains.show(summary)
        return
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
