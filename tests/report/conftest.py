"""Evidence made up here, of each kind that the page draws differently, and a certificate with every mark."""

import numpy as np
import pytest

from thalweg.report import Draws, Evidence, Plane, Record

CERTIFICATE = {
    "holds": False,
    "verdict": "Do not trust it yet: samples & data are <far> apart. Not tested: labels.",
    "held_out": 40,
    "train": 160,
    "draws": 200,
    "checks": [
        dict(
            name="NLL", value=1.5, stderr=0.1, unit="nats", reference=2.0, against="Gaussian", holds=True, words="good"
        ),
        dict(
            name="W2", value=0.5, stderr=None, unit="cm", reference=0.1, against="floor", holds=False, words="a < b & c"
        ),
        dict(
            name="labels", value=None, stderr=None, unit="", reference=None, against="", holds=None, words="no labels"
        ),
    ],
}
RECORD = Record(
    "cells <1>",
    facts={"from": "noise", "to": "cells", "net": "mlp"},
    options={"steps": "20"},
    data={"target": {"name": "cells.csv", "sha256": "ab" * 32}},
    versions={"thalweg": "0.1.0"},
    commands=["thalweg fit --target cells.csv --out run", "thalweg report run"],
)
EVENTS = {"line": (1,), "plane": (2,), "many": (5,), "image": (6, 8), "colour": (5, 4, 3)}


def evidence(event: tuple[int, ...], *, sde: bool = True, labels: bool = False) -> Evidence:
    """Points off the centre, with unequal spread, moving in from noise."""
    rng = np.random.default_rng(7)
    spread = np.linspace(0.5, 2.0, int(np.prod(event))).reshape(event)
    names = ("a", "b", "c") if labels else None

    def points(n):
        return (3 + spread * rng.normal(size=(n, *event))).astype(np.float32)

    def draws():
        times = np.linspace(0, 1, 5)
        start, end = rng.normal(size=(60, *event)), points(60)
        paths = np.stack([(1 - t) * start + t * end for t in times])
        return Draws(points(90), np.arange(90) % 3 if labels else None, times, paths)

    held = points(40)
    return Evidence(
        event=event,
        held_out=held,
        held_out_labels=np.arange(40) % 3 if labels else None,
        ode=draws(),
        sde=draws() if sde else None,
        eps=0.5,
        plane=Plane.of(held),
        label_names=names,
        loss=np.concatenate([np.exp(-np.arange(300) / 30) - 1 + 0.1 * rng.normal(size=300), [np.nan]]),
        grad_norm=np.exp(rng.normal(size=301)),
    )


@pytest.fixture(params=EVENTS, scope="module")
def kind(request):
    return EVENTS[request.param]
