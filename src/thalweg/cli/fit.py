"""`thalweg fit`: from options to a trained run, interrupted and resumed at will.

Answers    which objects do the words on the command line stand for, and what is trained on what
Fails      bad input with status 2 before anything is written; a loss that is not finite with status 1, the last good
           state kept; Ctrl-C with status 130 and the line that goes on from there
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import CheckpointError, InputError, StatusError, choose
from .data import Data, load_data, split_rows
from .files import Want
from .rundir import RunDir, dumps

NETS = ("mlp", "unet")


@dataclass(frozen=True)
class FitOptions:
    """The options of `fit` that decide its numbers; kept in `run.json`."""

    target: str
    source: str | None = None
    condition: str | None = None
    columns: tuple[str, ...] | None = None
    layer: str | None = None
    obsm: str | None = None
    path: str = "linear"
    gamma: str | None = None
    coupling: str = "independent"
    net: str = "mlp"
    width: int | None = None
    depth: int | None = None
    steps: int = 3000
    batch: int = 256
    lr: float = 5e-3
    ema: float = 0.995
    clip: float = 1.0
    drop: float = 0.0
    held_out: float = 0.2
    seed: int = 0
    devices: int | None = None
    chunk: int = 100

    @classmethod
    def of(cls, record: dict[str, Any]) -> "FitOptions":
        """Read options back from a record.

        Raises:
            CheckpointError: when they are those of another version.
        """
        try:
            columns = record.get("columns")
            return cls(**{**record, "columns": None if columns is None else tuple(columns)})
        except TypeError as error:
            raise CheckpointError(f"the options of the run are not those of this version ({error})") from error


@dataclass(frozen=True)
class Loaded:
    """The data of a run: target and source, and the rows of the target that are trained on and held out."""

    target: Data
    source: Data | None
    train: np.ndarray
    held: np.ndarray

    def part(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Points and conditions of some rows of the target."""
        return self.target.x[rows], None if self.target.c is None else self.target.c[rows]


def load(options: FitOptions, places: dict[str, str] | None = None) -> Loaded:
    """Load and split what the options name.

    Args:
        options: those of the fit.
        places: where the files were when the run was made, for when the working directory is another one now.

    Raises:
        InputError: for data that cannot be learned from; for source and target of different events.
    """
    places = places or {}
    want = Want(options.condition, options.columns, options.layer, options.obsm)
    target = load_data(_place(options.target, places.get("target")), want, seed=options.seed)
    source = None
    if options.source is not None:
        loose = Want(options.condition, options.columns, options.layer, options.obsm, condition_needed=False)
        spec = _place(options.source, places.get("source"))
        named = not Path(spec).exists()
        # Columns, layers and keys are a file's; a source by name has none.
        source = load_data(spec, Want() if named and not Path(spec).suffix else loose, seed=options.seed + 1)
        if source.x.shape[1:] != target.x.shape[1:]:
            raise InputError(
                f"source and target differ: {source.name} has events of shape {source.x.shape[1:]}, "
                f"{target.name} of {target.x.shape[1:]}; expected the same"
            )
    train, held = split_rows(target, options.held_out, options.seed)
    if options.coupling == "paired" and source is not None:
        if len(source.x) != len(target.x):
            raise InputError(f"--coupling paired: the source has {len(source.x)} rows, the target {len(target.x)}")
        # The partners of held-out rows are held out with them.
        source = Data(source.name, source.x[train], columns=source.columns)
    return Loaded(target, source, train, held)


def places(options: FitOptions) -> dict[str, str]:
    """Absolute paths of the files that the options name."""
    named = {"target": options.target, "source": options.source}
    return {k: str(Path(v).resolve()) for k, v in named.items() if v is not None and Path(v).exists()}


def _place(spec: str, place: str | None) -> str:
    return place if place is not None and Path(place).exists() else spec


def training(options: FitOptions, data: Loaded):
    """The `Training` that the options name.

    Raises:
        InputError: for an unknown name, or a combination that makes no sense.
    """
    import jax

    from ..flows import COUPLINGS, Training

    _positive(steps=options.steps, batch=options.batch, chunk=options.chunk, lr=options.lr)
    coupling = COUPLINGS[choose("coupling", options.coupling, COUPLINGS)]()
    x, c = data.part(data.train)
    if options.coupling == "within-condition" and c is None:
        raise InputError("--coupling within-condition pairs within labels; name them with --condition")
    if options.drop and c is None:
        raise InputError("--drop leaves out conditions; name them with --condition")
    if not 0 <= options.drop < 1:
        raise InputError(f"--drop is {options.drop:g}; expected a share from 0 up to 1")
    return Training.of(
        x,
        key=jax.random.key(options.seed),
        source=None if data.source is None else data.source.x,
        condition=c,
        labels=data.target.labels,
        path=make_path(options),
        coupling=coupling,
        net=make_net(options),
        steps=options.steps,
        batch=options.batch,
        learning_rate=options.lr,
        ema=options.ema or None,
        clip=options.clip or None,
        drop=options.drop,
        quantum=data.target.quantum,
        bounds=data.target.bounds,
    )


def make_path(options: FitOptions):
    """The path that `--path` and `--gamma` name: one-sided without a source.

    Raises:
        InputError: for an unknown name (with the nearest), or a latent where the path has no room for one.
    """
    from ..flows import DIFFUSIONS, LATENTS, TWO_SIDED, DiffusionPath, EncodingDecoding, Mirror, OneSided

    name = choose("path", options.path, [*TWO_SIDED, *DIFFUSIONS])
    latent = None if options.gamma is None else LATENTS[choose("gamma", options.gamma, LATENTS)]()
    if name in DIFFUSIONS:
        if options.source is not None:
            raise InputError(f"--path {name} starts from noise; drop --source, or use one of {', '.join(TWO_SIDED)}")
        if options.gamma not in (None, "none"):
            raise InputError(f"--path {name} has its own noise; drop --gamma")
        return DiffusionPath(DIFFUSIONS[name]())
    made = TWO_SIDED[name]
    if made is EncodingDecoding:
        if options.gamma not in (None, "sine-squared"):
            raise InputError("--path encoding-decoding has gamma = sin^2(pi t); drop --gamma")
        return made()
    if made is Mirror:
        return made() if latent is None else made(latent)
    if options.source is None and options.gamma in (None, "none"):
        return OneSided(made())
    return made(LATENTS["brownian"]() if latent is None else latent)


def make_net(options: FitOptions):
    """The constructor of the net: `(event, condition, *, key)`."""
    from ..nets import MLP, UNet

    width, depth = options.width, options.depth
    _positive(**{k: v for k, v in (("width", width), ("depth", depth)) if v is not None})
    if choose("net", options.net, NETS) == "mlp":
        return lambda event, condition, *, key: MLP(
            event, width=width or 256, depth=depth or 3, condition=condition, key=key
        )
    # Each level has half the resolution of the one before and twice its channels.
    channels = tuple((width or 32) * 2**level for level in range(depth or 2))
    return lambda event, condition, *, key: UNet(event, channels=channels, condition=condition, key=key)


def make_mesh(options: FitOptions):
    """The devices that `--devices` names, or None.

    Raises:
        InputError: for more than there are, or a number that does not divide the batch.
    """
    from ..core import data_mesh

    if options.devices is None:
        return None
    mesh = data_mesh(options.devices)
    if options.batch % options.devices:
        raise InputError(f"--batch {options.batch} cannot be divided over {options.devices} devices; use a multiple")
    return mesh


def _positive(**values):
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"--{name} is {value:g}; expected a positive number")


def start(options: FitOptions, out: Path, *, overwrite: bool = False) -> tuple[RunDir, Any]:
    """Check everything, then make the run directory; nothing is written when the input is bad."""
    from ..core.io import versions

    data = load(options)
    made = training(options, data)
    make_mesh(options)
    about = {"target": data.target.about()}
    if data.source is not None:
        about["source"] = data.source.about()
    record = {
        "options": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(options).items()},
        "places": places(options),
        "data": about,
        "columns": None if data.target.columns is None else list(data.target.columns),
        "labels": None if data.target.labels is None else list(data.target.labels),
        "split": {"held_out": options.held_out, "seed": options.seed, "train": len(data.train), "held": len(data.held)},
        "versions": versions(),
        "started": time.strftime("%Y-%m-%d %H:%M"),
        "status": "running",
        "seconds": 0.0,
    }
    return RunDir.create(out, record, overwrite=overwrite), made


def reload(run: RunDir) -> Loaded:
    """The data of a run, checked to be what it was made with.

    Raises:
        InputError: when the files have changed since.
    """
    options = FitOptions.of(run.options)
    data = load(options, run.record.get("places"))
    for name, found in (("target", data.target), ("source", data.source)):
        known = run.record["data"].get(name)
        if known is not None and found is not None and found.sha256 != known["sha256"]:
            raise InputError(
                f"the {name} {getattr(options, name)} has changed since {run.path} was made "
                "(its digest is another); restore it, or start a new run"
            )
    return data


def train(run: RunDir, made, *, quiet: bool = False, save_every: float = 10.0) -> dict[str, Any]:
    """Run to the end, from the newest checkpoint if there is one, and leave the model behind.

    Returns:
        a summary for people and machines.

    Raises:
        Interrupted: on Ctrl-C, with the state saved.
        StatusError: when a loss was not finite.
    """
    import jax

    from ..core import Interrupted, data_mesh, describe, succeeded

    options = FitOptions.of(run.options)
    mesh = None
    if options.devices is not None:
        mesh = data_mesh(options.devices)
        if options.batch % options.devices:
            raise InputError(
                f"--batch {options.batch} cannot be divided over {options.devices} devices; use a multiple"
            )
    before, began = run.record.get("seconds") or 0.0, time.monotonic()
    resume = run.can_resume()
    run.update(status="running")
    try:
        result = made.run(
            options.steps,
            key=jax.random.key(options.seed),
            mesh=mesh,
            quiet=quiet,
            label=f"fit {run.record['data']['target']['name']}",
            directory=run.checkpoints,
            resume=resume,
            chunk=options.chunk,
            save_seconds=save_every,
        )
    except Interrupted as stopped:
        run.update(status=f"interrupted at step {stopped.step}", seconds=before + time.monotonic() - began)
        raise
    seconds = before + time.monotonic() - began
    info = result.info
    history = {} if info is None else {k: _digits(getattr(info, k)) for k in ("loss", "grad_norm")}
    run.write("history.json", dumps(history))
    if not bool(succeeded(result.status)):
        run.update(status=f"failed {describe(result)}", seconds=seconds)
        raise StatusError(f"training stopped {describe(result)}", result)
    made.transport(result).save(run.model)
    run.update(status="finished", seconds=seconds, ended=time.strftime("%Y-%m-%d %H:%M"))
    tail = np.asarray(history.get("loss") or [np.nan], float)[-max(1, options.steps // 20) :]
    return {
        "run": str(run.path),
        "status": "finished",
        "steps": options.steps,
        "seconds": round(seconds, 2),
        "loss": float(tail.mean()),
        "train": run.record["split"]["train"],
        "held_out": run.record["split"]["held"],
    }


def _digits(values):
    """Seven digits, which is what single precision has."""
    return [float(f"{v:.7g}") for v in np.asarray(values, float)]
