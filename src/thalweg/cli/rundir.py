"""The run directory: what `fit` leaves behind, and what `sample`, `report` and `fit --resume` read.

    run.json        options, data and their digests, versions, split, status   (written first, updated at the end)
    checkpoints/    the state of training, for resuming
    model/          the learned transport
    history.json    loss and gradient norm of every step
    samples-*.npy, certificate.json, report.html

Every file is written whole or not at all.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

from ..core.errors import CheckpointError, InputError

FORMAT = 1
KIND = "thalweg run"
DENSITY = "thalweg density"
MADE_BY = {KIND: "fit", DENSITY: "sample-density"}


class RunDir:
    """A run directory and its record (`run.json`)."""

    def __init__(self, path: Path, record: dict[str, Any]):
        self.path, self.record = path, record

    @classmethod
    def create(cls, path: Path, record: dict[str, Any], *, overwrite: bool, kind: str = KIND) -> "RunDir":
        """Start a run directory; an old run is replaced only when asked to. `kind` says which command can read it.

        Raises:
            InputError: when there is a run already, or something else, or it cannot be written.
        """
        if (path / "run.json").is_file() and overwrite:
            for name in ("checkpoints", "model"):
                shutil.rmtree(path / name, ignore_errors=True)
            for old in (
                *path.glob("samples-*"),
                *path.glob("draws*"),
                *(path / n for n in ("history.json", "certificate.json", "report.html")),
            ):
                old.unlink(missing_ok=True)
        elif (path / "run.json").is_file():
            raise InputError(f"{path} holds a run already; go on with --resume {path}, or replace it with --overwrite")
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path} exists and is not a run; choose another --out")
        made = not path.exists()
        run = cls(path, {"kind": kind, "format": FORMAT, **record})
        try:
            path.mkdir(parents=True, exist_ok=True)
            run.update()
        except (OSError, InputError) as error:
            if made:
                shutil.rmtree(path, ignore_errors=True)
            raise (
                error if isinstance(error, InputError) else InputError(f"could not make {path}: {error.strerror}")
            ) from error
        return run

    @classmethod
    def open(cls, path: Path, *, kind: str | None = KIND) -> "RunDir":
        """Read a run directory of this kind, or of any kind for None.

        Raises:
            InputError: when it is not one; CheckpointError when it is damaged or of another version.
        """
        if not path.is_dir():
            raise InputError(f"there is no run directory {path}; make one with: thalweg fit --target ... --out {path}")
        file = path / "run.json"
        if not file.is_file():
            raise InputError(
                f"{path} is not a run directory: it has no run.json; expected what `thalweg fit --out` makes"
            )
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            made, found = record["kind"], record["format"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise CheckpointError(
                f"{file} is damaged ({str(error).splitlines()[0]}); the run cannot be read"
            ) from error
        kind = made if kind is None and made in MADE_BY else kind
        if made != kind and made in MADE_BY and kind in MADE_BY:
            raise InputError(
                f"{path} was made by `thalweg {MADE_BY[made]}`; this command reads what {MADE_BY[kind]} makes"
            )
        if made != kind or found != FORMAT:
            wrote = record.get("versions", {}).get("thalweg")
            raise CheckpointError(f"{file} has format {found!r} (thalweg {wrote}); this version reads format {FORMAT}")
        return cls(path, record)

    @property
    def options(self) -> dict[str, Any]:
        """The options of `fit`."""
        return self.record["options"]

    @property
    def checkpoints(self) -> Path:
        """Where the state of training is."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """Where the learned transport is."""
        return self.path / "model"

    def update(self, **changes) -> None:
        """Change entries of the record and write it."""
        self.record.update(changes)
        self.write("run.json", dumps(self.record, indent=1))

    def write(self, name: str, data: bytes | str) -> Path:
        """Write a file of the run, atomically."""
        from ..core.io import write_atomic

        write_atomic(self.path / name, data)
        return self.path / name

    def can_resume(self, stage: str = "") -> bool:
        """Whether a checkpoint was written, of this stage where a run has several; a killed write's are swept away."""
        for stale in (self.checkpoints / stage).glob(".*.tmp"):
            shutil.rmtree(stale, ignore_errors=True)
        return any((self.checkpoints / stage).glob("step-*"))

    def transport(self):
        """The learned transport.

        Raises:
            CheckpointError: when training has not ended, or the model is damaged.
        """
        from ..flows import Transport

        if not self.model.is_dir():
            status = self.record.get("status")
            raise CheckpointError(
                f"{self.path} has no model yet (the run is {status}); fit --resume {self.path} finishes it"
            )
        return Transport.load(self.model)

    def history(self) -> dict[str, list]:
        """What was told of every step, null where it was not finite; empty when there is no history."""
        file = self.path / "history.json"
        try:
            return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{file} is damaged ({str(error).splitlines()[0]}); delete it to go on without"
            ) from error


def dumps(value: Any, **how) -> str:
    """JSON in which numbers that are not finite are null."""
    return json.dumps(_plain(value), allow_nan=False, ensure_ascii=False, **how)


def _plain(value):
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
