"""`thalweg report`: certify a run on its held-out data and write the page."""

import shlex
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from .fit import FitOptions, reload
from .rundir import RunDir, dumps


def report(
    run: RunDir,
    *,
    out: Path | None,
    sde: float = 0.5,
    steps: int = 100,
    tolerance: float = 1.25,
    most: int = 1000,
    seed: int = 0,
) -> tuple[Any, Path]:
    """The certificate and the path of the page; both are written, whole.

    Raises:
        InputError: for a bad option, a run without a model, or data that has changed.
    """
    import jax

    from ..core.io import write_atomic
    from ..flows import certify
    from ..report import Record, gather, render

    for name, value, least in (
        ("--sde", sde, 0),
        ("--steps", steps, 1),
        ("--tolerance", tolerance, 0),
        ("--most", most, 10),
    ):
        if not value >= least:
            raise InputError(f"{name} is {value:g}; expected at least {least}")
    transport = run.transport()
    data = reload(run)
    (train, train_c), (held, held_c) = data.part(data.train), data.part(data.held)
    first, second = jax.random.split(jax.random.key(seed))
    made = certify(
        transport,
        held,
        train,
        key=first,
        condition=held_c,
        train_condition=train_c,
        sde=sde,
        steps=steps,
        tolerance=tolerance,
        most=most,
    )
    history = run.history()
    record = Record(
        title=run.record["data"]["target"]["name"],
        facts=_facts(run.record),
        options=given(run.options, vars(FitOptions(target=""))),
        data=run.record["data"],
        versions=run.record["versions"],
        commands=commands(run, sde, seed),
    )
    evidence = gather(
        transport, held, train, key=second, sde=sde, steps=steps, held_out_condition=held_c,
        columns=run.record.get("columns"),
        loss=history.get("loss") or (), grad_norm=history.get("grad_norm") or (),
    )  # fmt: skip
    path = out if out is not None else run.path / "report.html"
    page = render(evidence, made.as_dict(), record)
    run.write("certificate.json", dumps(made.as_dict(), indent=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, page)
    return made, path


def commands(run: RunDir, sde: float, seed: int) -> list[str]:
    """The lines that make the run, its samples and its page again."""
    fit = ["thalweg", "fit"]
    for name, value in given(run.options, vars(FitOptions(target=""))).items():
        fit += [f"--{name}", str(value)]
    place = shlex.quote(str(run.path))
    return [
        f"{shlex.join(fit)} --out {place}",
        f"thalweg sample {place} --n 1000",
        f"thalweg sample {place} --n 1000 --sde {sde:g}",
        f"thalweg report {place} --sde {sde:g} --seed {seed}",
    ]


def given(options: dict[str, Any], default: dict[str, Any]) -> dict[str, str]:
    """The options that differ from their defaults, as typed; in the order of `options`."""
    found = {}
    for name, value in options.items():
        if value is not None and value != default[name]:
            text = (
                ",".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
            )
            found[name.replace("_", "-")] = text
    return found


def _facts(record: dict[str, Any]) -> dict[str, str]:
    options, target = record["options"], record["data"]["target"]
    event = target["event"]
    shape = f"of {' × '.join(map(str, event))}" if len(event) > 1 else f"in {event[0]} dimension{'s' * (event[0] > 1)}"
    start = record["data"].get("source", {}).get("name", "standard normal noise")
    return {
        "from": start,
        "to": f"{target['name']}, {target['rows']} points {shape}",
        "path": options["path"] + (f", gamma {options['gamma']}" if options["gamma"] else ""),
        "coupling": options["coupling"],
        "net": options["net"],
        "training": f"{options['steps']} steps of {options['batch']}, {record['seconds']:.0f} s",
        "split": f"{record['split']['train']} to train, {record['split']['held']} held out",
        "made": record["started"],
    }
