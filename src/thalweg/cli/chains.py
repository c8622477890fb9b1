"""`thalweg sample-density --method chains`: draws by Markov chains, and whether they can be believed.

Answers    which chains do the words stand for, have they met, and what are the averages worth
Writes     draws.npz (x, log_prob, chain; the draws of one chain after those of another), history.json (the warm-up),
           checkpoints/warm-up and checkpoints/draws
Method     `sample_chains` from starts that are drawn from the Gaussian; no log Z, which chains do not give
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import InputError
from .rundir import RunDir, dumps
from .target import DensityOptions, prepare

# Those with a test and a step that a warm-up can find: the others leave a bias that no diagnostic shows.
KERNELS = ("hmc", "mala", "random-walk", "ghmc")
LEAPS = 8
# Of the steps of hmc: once the scales are known, all periods of a Gaussian are one, and chains meet it without jitter.
# With more than this, some steps are past the leapfrog's stable ones and count as divergent.
JITTER = 0.2
NO_LOG_Z = "no log Z: chains do not give it; for log Z, run with --method smc"
# Points that are tried for a start, a chain: a density may be zero in a part of the space.
TRIES = 50


@dataclass(frozen=True)
class ChainsOptions(DensityOptions):
    """The options of `sample-density --method chains`."""

    method: str = "chains"
    chains: int = 4
    draws: int = 1000
    warmup: int = 500
    thin: int = 1
    max_rhat: float = 1.01
    leaps: int | None = None


class Prepared(NamedTuple):
    """What the options stand for: `x0` is a start for each chain."""

    options: ChainsOptions
    target: Any
    kernel: Any
    x0: Any
    key: Any


def prepared(options: ChainsOptions) -> Prepared:
    """The density, the kernel and the starts.

    Raises:
        InputError: for a bad option, or a density without a value where the chains would start.
    """
    import jax

    options.at_least(draws=4, thin=1, warmup=0)
    if options.chains < 2:
        raise InputError(f"--chains is {options.chains}; expected at least 2: R-hat is a comparison of chains")
    if 0 < options.warmup < 20:
        raise InputError(f"--warmup is {options.warmup}; expected at least 20 steps, or 0 for none")
    if not 1 < options.max_rhat < float("inf"):
        raise InputError(f"--max-rhat is {options.max_rhat:g}; expected a number above 1, such as 1.01")
    if options.leaps is not None and options.kernel != "hmc":
        raise InputError(f"--leaps is for --kernel hmc; {options.kernel} has none, drop it")
    if options.leaps is not None:
        options.at_least(leaps=1)
    target, base, kernel, key = prepare(options, KERNELS, leaps=options.leaps or LEAPS, jitter=JITTER)
    # 0 and 1 are the keys of the warm-up and the draws.
    x0 = _starts(options, target, base.sample(jax.random.fold_in(key, 2), TRIES * options.chains))
    return Prepared(options, target, kernel, x0, key)


def _starts(options, target, tried):
    """The first points at which the density is not zero."""
    import jax

    from ..problems import check

    # Before a batch of them: a function of another shape gets a line, not a trace.
    check(target, tried[0], options.density, inside=False)
    log_prob = np.asarray(jax.vmap(target.log_prob)(tried))
    inside = np.flatnonzero(log_prob != -np.inf)[: options.chains]
    if len(inside) < options.chains:
        raise InputError(
            f"{options.density} is -inf at all but {len(inside)} of {len(tried)} points that were drawn for "
            f"{options.chains} starts; move them inside the support with --base-mean and --base-std"
        )
    for x in tried[inside]:
        check(target, x, options.density)
    return tried[inside]


@dataclass
class Stages:
    """Runs the stages of `sample_chains` in chunks, each with its own progress and checkpoints.

    Fields:
        run: the run directory.
        name: what the progress is told to be of.
        before: steps of the stages that are over.
        warmup: what was told of each step of the warm-up.
    """

    run: RunDir
    name: str
    quiet: bool
    before: int = 0
    warmup: dict[str, list] = field(default_factory=dict)

    def __call__(self, method, problem, *, steps, key, throw):
        """As `core.run`; a failure is left to the verdict.

        Raises:
            Interrupted: on Ctrl-C, with the step counted from the start of the warm-up.
        """
        import equinox as eqx
        import jax
        import jax.numpy as jnp

        from ..core import Interrupted, progress_bar, run_chunks
        from ..sampling import WarmUp

        stage = "warm-up" if isinstance(method, WarmUp) else "draws"
        with progress_bar(f"{stage} of {self.name}", quiet=self.quiet) as progress:
            try:
                result = run_chunks(
                    # Fifty looks at a long run, few enough that they cost nothing.
                    method, problem, steps=steps, key=key, chunk=max(20, steps // 50), save_seconds=2.0,
                    directory=self.run.checkpoints / stage, resume=self.run.can_resume(stage), progress=progress,
                )  # fmt: skip
            except Interrupted as stopped:
                raise Interrupted(self.before + stopped.step, stopped.directory) from None
        self.before += steps
        if stage == "warm-up":
            told = {name: getattr(result.info, name) for name in ("accept", "log_prob", "step_size")}
            self.warmup = {name: np.asarray(values, float).tolist() for name, values in told.items()}
        # The rows come back as NumPy arrays, which are no inputs of a compiled function.
        return eqx.tree_at(lambda r: r.info, result, jax.tree.map(jnp.asarray, result.info))


def sample(run: RunDir, made: Prepared, *, quiet: bool) -> dict[str, Any]:
    """Run to the end, write the draws, and say how it went.

    Raises:
        Interrupted: on Ctrl-C.
    """
    from ..sampling import sample_chains
    from .files import write_samples

    options, began = made.options, time.monotonic()
    stages = Stages(run, Path(options.density).name, quiet)
    found = sample_chains(
        made.target, made.kernel, made.x0, draws=options.draws, warmup=options.warmup, thin=options.thin, key=made.key,
        max_rhat=options.max_rhat, throw=False, runner=stages,
    )  # fmt: skip
    summary = {"run": str(run.path), "method": "chains", **_summary(found, made)}
    summary["seconds"] = round(time.monotonic() - began, 3)
    x = np.asarray(found.x)
    which = np.repeat(np.arange(x.shape[0]), x.shape[1])
    extra = {"log_prob": np.asarray(found.log_prob).ravel(), "chain": which}
    write_samples(run.path / "draws.npz", x.reshape(-1, *x.shape[2:]), extra, None)
    run.write("history.json", dumps(stages.warmup))
    run.update(status="done", evidence=summary)
    return summary


def _summary(found, made: Prepared) -> dict[str, Any]:
    import jax.numpy as jnp

    from ..core import Status, succeeded
    from ..sampling import chain_estimate

    options, trusted = made.options, bool(succeeded(found.status))
    mean = chain_estimate(found.x)
    variance = chain_estimate((found.x - mean.mean) ** 2)
    std = jnp.std(found.x, axis=(0, 1), ddof=1)
    # To first order; a coordinate that never moved has no error to tell.
    std_stderr = variance.stderr / (2 * std)
    steps = options.chains * (options.warmup + options.draws * options.thin)
    return {
        "trusted": trusted,
        "status": Status[found.status],
        "note": NO_LOG_Z,
        "chains": options.chains,
        "draws": int(found.x.shape[1]),
        "max_rhat": options.max_rhat,
        "rhat": np.asarray(found.rhat, float).tolist(),
        "ess_bulk": np.asarray(found.ess_bulk, float).tolist(),
        "ess_tail": np.asarray(found.ess_tail, float).tolist(),
        "acceptance": np.asarray(found.accepts, float).tolist(),
        "divergent": int(found.divergent),
        "broken": int(found.broken),
        "step_size": float(found.kernel.step_size),
        "scale": np.asarray(jnp.broadcast_to(found.kernel.scale, made.target.event), float).tolist(),
        "mean": np.asarray(mean.mean, float).tolist(),
        # The verdict withdraws the error bars with the draws.
        "mean_stderr": np.asarray(mean.stderr, float).tolist() if trusted else None,
        "std": np.asarray(std, float).tolist(),
        "std_stderr": np.asarray(std_stderr, float).tolist() if trusted else None,
        "steps": steps,
        "gradients": steps * made.kernel.gradients,
    }


def page(run: RunDir, record) -> str:
    """The page of the run; `record` says what was run.

    Raises:
        InputError: for draws that are missing or damaged.
    """
    from ..report import ChainsRun, render_chains
    from .files import read_arrays

    summary = run.record["evidence"]
    x, log_prob = read_arrays(run.path / "draws.npz", ("x", "log_prob"), "make it again with sample-density")
    each = (summary["chains"], summary["draws"])
    warmup = {name: np.asarray(values, float) for name, values in run.history().items()}
    return render_chains(ChainsRun(summary, x.reshape(*each, *x.shape[1:]), log_prob.reshape(each), warmup), record)


def facts(run: RunDir) -> dict[str, str]:
    """What was run, in a few words."""
    options, summary = run.options, run.record["evidence"]
    leaps = f", {options['leaps'] or LEAPS} leaps" if options["kernel"] == "hmc" else ""
    thin = f", one in {options['thin']} steps" if options["thin"] > 1 else ""
    return {
        "method": f"{options['chains']} Markov chains of {options['draws']} draws{thin}",
        "kernel": f"{options['kernel']}{leaps}, step {summary['step_size']:.3g}",
        "warm-up": f"{options['warmup']} steps" if options["warmup"] else "none",
        "starts": f"normal, mean {options['base_mean']:g}, standard deviation {options['base_std']:g}",
    }


def show(summary: dict[str, Any]) -> None:
    """The answer, or why there is none."""
    rhat, bulk, tail, mean, std = (np.ravel(summary[name]) for name in ("rhat", "ess_bulk", "ess_tail", "mean", "std"))
    told = f"{summary['chains']} chains of {summary['draws']} draws"
    if summary["trusted"]:
        print(f"{told}: R-hat up to {rhat.max():.3f}, ESS from {bulk.min():.0f} (bulk) and {tail.min():.0f} (tail)")
    else:
        print(f"{told} REFUSED (R-hat up to {rhat.max():.3f}, {summary['max_rhat']:g} allowed): {summary['status']}")
    low, high = min(summary["acceptance"]), max(summary["acceptance"])
    print(f"acceptance {low:.2f} to {high:.2f}, step {summary['step_size']:.3g}", end="")
    print(f", {summary['divergent']} divergent steps, {summary['broken']} at a NaN, {summary['gradients']} gradients")
    errors = [np.ravel(summary[f"{name}_stderr"]) if summary["trusted"] else None for name in ("mean", "std")]
    for i in range(min(len(mean), 8)):
        centre, width = (
            f"{v[i]:.4g}" + ("" if e is None else f" ± {e[i]:.2g}") for v, e in zip((mean, std), errors, strict=True)
        )
        print(f"x[{i}]  mean {centre}  sd {width}  R-hat {rhat[i]:.3f}  ESS {bulk[i]:.0f}, {tail[i]:.0f}")
    if len(mean) > 8:
        print(f"... {len(mean) - 8} more coordinates in run.json")
    print(summary["note"])
    print(f"{summary['run']}/draws.npz")
