"""The commands, their options, and what a mistake looks like.

Answers    which words a user can type, and with which exit status each ends
Status     0 done; 1 a run or a claim that failed; 2 bad input, one line on standard error; 130 Ctrl-C
Rule       nothing here imports jax until a command runs, so that `thalweg --help` is quick
"""

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from .endings import Resumable, exit_status, print_json

app = typer.Typer(
    name="thalweg",
    help="Learn, run, measure and certify the motion of probability.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines on standard output.")]
Seed = Annotated[int, typer.Option("--seed", help="The chance of this command; the same seed, the same numbers.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
Devices = Annotated[int | None, typer.Option("--devices", help="Divide batches over this many devices.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, made by `thalweg fit`.")]
SMC, CHAINS = "With --method smc", "With --method chains"
Steps = Annotated[int, typer.Option("--steps", help="Fixed steps from t = 0 to 1.")]


def _option(name: str, text: str, default: str | None = None, panel: str | None = None) -> Any:
    """An option; one that is not given stays None, and `default` is what None comes to."""
    more: Any = {} if default is None else {"show_default": default}
    return typer.Option(name, help=text, rich_help_panel=panel, **more)


def _version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version as installed

        print(f"thalweg {installed('thalweg')}")
        raise typer.Exit()
    return wanted


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_version)
    ] = False,
):
    pass


@app.command()
def fit(
    target: Annotated[
        str | None, _option("--target", "Data to learn: a file, or a data set by name (name:N for N points).")
    ] = None,
    source: Annotated[str | None, _option("--source", "Data to start from; standard normal noise without.")] = None,
    condition: Annotated[str | None, _option("--condition", "Column, key or `label` to condition on.")] = None,
    columns: Annotated[str | None, _option("--columns", "Columns of a table, separated by commas.")] = None,
    layer: Annotated[str | None, _option("--layer", "Layer of an .h5ad file.")] = None,
    obsm: Annotated[str | None, _option("--obsm", "Key in obsm of an .h5ad file.")] = None,
    path: Annotated[
        str | None, _option("--path", "linear, trigonometric, encoding-decoding, mirror, vp, ve or sub-vp.", "linear")
    ] = None,
    gamma: Annotated[
        str | None,
        _option(
            "--gamma",
            "Latent noise: none, brownian, quadratic, sine-squared or sigmoid.",
            "none; brownian with a source",
        ),
    ] = None,
    coupling: Annotated[
        str | None, _option("--coupling", "independent, paired, ot, sinkhorn or within-condition.", "independent")
    ] = None,
    net: Annotated[str | None, _option("--net", "mlp or unet.", "mlp")] = None,
    width: Annotated[
        int | None, _option("--width", "Units (mlp) or channels (unet) of the first layer.", "256; 32")
    ] = None,
    depth: Annotated[int | None, _option("--depth", "Hidden layers (mlp) or levels (unet).", "3; 2")] = None,
    steps: Annotated[int | None, _option("--steps", "Training steps.", "3000")] = None,
    batch: Annotated[int | None, _option("--batch", "Rows in a batch.", "256")] = None,
    lr: Annotated[float | None, _option("--lr", "Largest learning rate.", "0.005")] = None,
    ema: Annotated[float | None, _option("--ema", "Decay of the averaged parameters; 0 for none.", "0.995")] = None,
    clip: Annotated[float | None, _option("--clip", "Largest norm of a gradient; 0 for none.", "1.0")] = None,
    drop: Annotated[float | None, _option("--drop", "Share of conditions left out, for guidance.", "0.0")] = None,
    held_out: Annotated[float | None, _option("--held-out", "Share kept back for the certificate.", "0.2")] = None,
    seed: Annotated[
        int | None, _option("--seed", "The chance of this run; the same seed, the same numbers.", "0")
    ] = None,
    devices: Devices = None,
    chunk: Annotated[int | None, _option("--chunk", "Steps in one compiled scan.", "100")] = None,
    save_every: Annotated[float, _option("--save-every", "Seconds between checkpoints; 0 for every chunk.")] = 10.0,
    out: Annotated[Path | None, _option("--out", "The run directory to make.")] = None,
    overwrite: Annotated[bool, _option("--overwrite", "Replace the run that is there.")] = False,
    resume: Annotated[Path | None, _option("--resume", "Go on with this run, with its own options.")] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Learn a transport to TARGET, from noise or from SOURCE.

    [bold]thalweg fit --target digits --condition label --out runs/digits[/bold]
    """
    given = dict(
        target=target, source=source, condition=condition, columns=_names(columns), layer=layer, obsm=obsm, path=path,
        gamma=gamma, coupling=coupling, net=net, width=width, depth=depth, steps=steps, batch=batch, lr=lr, ema=ema,
        clip=clip, drop=drop, held_out=held_out, seed=seed, devices=devices, chunk=chunk,
    )  # fmt: skip
    run, made = _begin(given, out, overwrite, resume)
    from .fit import train

    with Resumable(run.path, json):
        summary = train(run, made, quiet=quiet, save_every=save_every)
    if json:
        print_json(summary)
    else:
        print(f"{summary['run']}: {summary['steps']} steps, loss {summary['loss']:.4f}, {summary['seconds']:.1f} s")
        print(f"next: thalweg report {summary['run']}")


@app.command()
def sample(
    run: Run,
    n: Annotated[int, typer.Option("--n", "-n", help="How many.")] = 1000,
    sde: Annotated[
        float | None, typer.Option("--sde", metavar="EPS", help="Run the SDE with this much noise, not the ODE.")
    ] = None,
    solver: Annotated[
        str | None, typer.Option("--solver", help="heun, euler, midpoint, rk4, euler-maruyama, ...")
    ] = None,
    steps: Steps = 100,
    condition: Annotated[
        str | None, typer.Option("--condition", help="A label, or a number or JSON list of them.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="Weight of the condition; 1 is none (fit with --drop).")
    ] = None,
    log_prob: Annotated[bool, typer.Option("--log-prob", help="Log densities of the samples too.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help=".npy, .npz or .csv; `-` writes .npy to standard output.")
    ] = None,
    png: Annotated[bool, typer.Option("--png", help="Images: a picture of the first hundred beside the file.")] = False,
    seed: Seed = 0,
    devices: Devices = None,
    json: Json = False,
) -> None:
    """Draw samples from a run, by ODE or, with --sde, by SDE; no retraining."""
    from . import sample as samples
    from .rundir import RunDir

    opened = RunDir.open(run)
    if json and out is not None and str(out) == "-":
        raise _input("--json and --out - both want standard output; choose one")
    options = samples.SampleOptions(n, sde, solver, steps, condition, guidance, log_prob, seed, devices)
    found = samples.draw(opened, options)
    paths = samples.save(opened, found, out, sde=sde is not None, png=png)
    if json:
        x = found["x"]
        about = {"n": len(x), "event": list(x.shape[1:]), "sde": sde, "mean": float(x.mean()), "std": float(x.std())}
        if log_prob:
            about["log_prob"] = float(found["log_prob"].mean())
        print_json({"files": [str(p) for p in paths], **about})
        return
    for path in paths:
        print(path)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Made by `thalweg fit` or `thalweg sample-density`.")],
    out: Annotated[Path | None, typer.Option("--out", help="The page; RUN/report.html by default.")] = None,
    sde: Annotated[float | None, _option("--sde", "Noise of the SDE that is drawn and certified.", "0.5")] = None,
    steps: Annotated[int | None, _option("--steps", "Fixed steps from t = 0 to 1.", "100")] = None,
    tolerance: Annotated[
        float | None, _option("--tolerance", "How many times the floor a distance may be.", "1.25")
    ] = None,
    most: Annotated[int | None, _option("--most", "Points of each kind in a distance.", "1000")] = None,
    seed: Annotated[int | None, _option("--seed", "The chance of this command.", "0")] = None,
    json: Json = False,
) -> None:
    """Write one self-contained page: of a transport, certified on its held-out data; or of a sampled density."""
    from . import certificate, density
    from .rundir import DENSITY, RunDir

    options = dict(sde=sde, steps=steps, tolerance=tolerance, most=most, seed=seed)
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    opened = RunDir.open(run, kind=None)
    if opened.record["kind"] == DENSITY:
        if given:
            raise _input(f"--{next(iter(given))} is for the page of a transport; {run} is a sampled density, drop it")
        found, path = density.report(opened, out)
    else:
        made, path = certificate.report(opened, out=out, **given)
        found = made.as_dict()
        print(made, file=sys.stderr)
    if json:
        print_json(found)
    else:
        print(path)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A file, a run (its samples) or a data set.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    columns: Annotated[str | None, typer.Option("--columns", help="Columns of a table, separated by commas.")] = None,
    permutations: Annotated[
        int, typer.Option("--permutations", help="Relabellings for the p-values; 0 for none.")
    ] = 200,
    most: Annotated[int, typer.Option("--most", help="Points of each for the distances of quadratic cost.")] = 1000,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw both samples to this .png or .svg.")] = None,
    features: Annotated[bool, typer.Option("--features", help="Rows for every single feature as well.")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Distances between two samples, with errors and units."""
    from .compare import between
    from .tables import distance_rows, show_distances

    rows = distance_rows(
        between(
            a, b, columns=_names(columns), permutations=permutations, most=most, seed=seed, plot=plot, features=features
        )
    )
    if json:
        print_json(rows)
    else:
        show_distances((a, b), rows)


@app.command("sample-density")
def sample_density(
    density: Annotated[str | None, typer.Argument(metavar="[FILE.py:FUNCTION]", help="x -> log density.")] = None,
    dim: Annotated[str | None, _option("--dim", "Shape of a point: 5, or 4,3.")] = None,
    method: Annotated[str | None, _option("--method", "smc (particles; log Z) or chains (no log Z).", "smc")] = None,
    kernel: Annotated[str | None, _option("--kernel", "hmc, mala or random-walk; chains: ghmc too.", "hmc")] = None,
    step: Annotated[float | None, _option("--step", "First step size; it is tuned.", "0.3")] = None,
    base_mean: Annotated[float | None, _option("--base-mean", "Of the Gaussian to start from.", "0.0")] = None,
    base_std: Annotated[float | None, _option("--base-std", "Wider than the density, in any direction.", "3.0")] = None,
    seed: Annotated[int | None, _option("--seed", "The chance of this run.", "0")] = None,
    particles: Annotated[int | None, _option("--particles", "In each run.", "1000", SMC)] = None,
    replicates: Annotated[int | None, _option("--replicates", "Independent runs.", "4", SMC)] = None,
    moves: Annotated[int | None, _option("--moves", "Steps of the kernel on each rung.", "2", SMC)] = None,
    share: Annotated[float | None, _option("--share", "Of particles a rung leaves effective.", "0.9", SMC)] = None,
    level: Annotated[float | None, _option("--level", "Of the interval for log Z.", "0.9", SMC)] = None,
    chains: Annotated[int | None, _option("--chains", "Independent chains.", "4", CHAINS)] = None,
    draws: Annotated[int | None, _option("--draws", "That each chain keeps.", "1000", CHAINS)] = None,
    warmup: Annotated[int | None, _option("--warmup", "Steps that tune the kernel; 0 for none.", "500", CHAINS)] = None,
    thin: Annotated[int | None, _option("--thin", "Steps from one draw to the next.", "1", CHAINS)] = None,
    leaps: Annotated[int | None, _option("--leaps", "Gradients in a step of hmc.", "8", CHAINS)] = None,
    max_rhat: Annotated[float | None, _option("--max-rhat", "The largest believed.", "1.01", CHAINS)] = None,
    out: Annotated[Path | None, _option("--out", "The run directory to make.")] = None,
    overwrite: Annotated[bool, _option("--overwrite", "Replace the run that is there.")] = False,
    resume: Annotated[Path | None, _option("--resume", "Go on with this run, with its own options.")] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Draws of a density and its log Z (or chains and their R-hat) with error bars, or a refusal (status 1).

    [bold]thalweg sample-density target.py:log_prob --dim 5 --out runs/target[/bold]
    """
    from . import density as made

    given = dict(
        density=density, dim=dim, method=method, kernel=kernel, step=step, base_mean=base_mean, base_std=base_std,
        seed=seed, particles=particles, replicates=replicates, moves=moves, share=share, chains=chains, draws=draws,
        warmup=warmup, thin=thin, leaps=leaps, max_rhat=max_rhat,
    )  # fmt: skip
    given = _given(given, out, overwrite, resume)
    run, prepared = made.open_run(given, out, overwrite=overwrite, resume=resume, level=level)
    with Resumable(run.path, json, "sample-density"):
        summary = made.sample_density(run, prepared, quiet=quiet, level=level)
    if json:
        print_json(summary)
    else:
        made.show(summary)
    if not summary["trusted"]:
        raise typer.Exit(1)


@app.command()
def papers(
    name: Annotated[str | None, typer.Argument(metavar="[ID]", help="An arXiv number or a name; all without.")] = None,
    json: Json = False,
) -> None:
    """What is implemented where, and whether it is reproduced."""
    from . import tables

    records = tables.recorded()
    rows = tables.papers(records)
    found = rows if name is None else tables.find_papers(rows, name)
    if json:
        print_json(found if name is None else [{**r, "reproduction": records.get(r["name"])} for r in found])
    elif name is None:
        tables.show_papers(found)
    else:
        for row in found:
            tables.show_paper(row, records.get(row["name"]))


@app.command()
def reproduce(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Names of reproductions, or `all`.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="The same as the name `all`.")] = False,
    short: Annotated[
        bool, typer.Option("--short", help="The size for continuous integration; claims may be untestable.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where NAME.json goes; ./reproductions, or nowhere with --short.")
    ] = None,
    json: Json = False,
) -> None:
    """The papers' claims, recomputed. Status 1 when one that can be tested does not hold."""
    from . import claims
    from .tables import show_claims

    chosen = claims.chosen(["all"] if every else names or [])
    records = []
    for made in claims.run(chosen, short=short, out=out or (None if short else Path("reproductions"))):
        records.append(made.as_dict())
        if not json:
            show_claims(records[-1])
    if json:
        print_json(records[0] if len(records) == 1 else records)
    if any(claim["holds"] is False for record in records for claim in record["claims"]):
        raise typer.Exit(1)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if argv is None:
        warnings.showwarning = lambda message, *_, **__: print(f"thalweg: warning: {message}", file=sys.stderr)
    try:
        command = typer.main.get_command(app)
        status = command.main(args=arguments, prog_name="thalweg", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        print("thalweg: stopped", file=sys.stderr)
        return 130
    # Bad words on the command line; typer's own class for it is not public.
    except Exception as error:
        status = exit_status(error)
        if status is None:
            raise
        message = " ".join((error.format_message() if hasattr(error, "format_message") else str(error)).split())  # type: ignore
        print(f"thalweg: error: {message}", file=sys.stderr)
        if "--json" in arguments:
            print_json({"error": message})
        return status


def _begin(given: dict[str, Any], out: Path | None, overwrite: bool, resume: Path | None):
    """The run directory and the training: a new one, or the one to go on with."""
    from . import fit as fits
    from .rundir import RunDir

    given = _given(given, out, overwrite, resume)
    if resume is not None:
        run = RunDir.open(resume)
        return run, fits.training(fits.FitOptions.of(run.options), fits.reload(run))
    if "target" not in given or out is None:
        missing = "out" if "target" in given else "target"
        raise _input(f"fit needs --{missing} (or --resume RUN, to go on with a run)")
    return fits.start(fits.FitOptions(**given), out, overwrite=overwrite)


def _given(options: dict[str, Any], out: Path | None, overwrite: bool, resume: Path | None) -> dict[str, Any]:
    """The options that were given; none may be beside --resume, where they would silently be ignored."""
    given = {name: value for name, value in options.items() if value is not None}
    extra = [*given, *(["out"] if out is not None else []), *(["overwrite"] if overwrite else [])]
    if resume is not None and extra:
        option = extra[0].replace("_", "-")
        raise _input(f"--resume takes its options from the run; drop --{option}, or start a new run with --out")
    return given


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _input(message: str) -> Exception:
    from ..core.errors import InputError

    return InputError(message)
