"""The certificate on real images: handwritten digits (8 x 8, perceptron) and MNIST (28 x 28, UNet).

Setting    class-conditional, one-sided linear path, 20 % of the images held out; a support vector machine trained on
           the real training images is the judge of labels
Claims     the library's own aims, not a paper's: recognised >= 98 %, sliced W2 within 1.25 of the real-real
           floor, nothing memorised, by ODE and by SDE
"""

import dataclasses
import time

import jax
import numpy as np

from ..flows import Certificate, Training, certify
from ..nets import UNet
from ..problems import dataset, split
from .claims import Claim, Reproduction, Stopwatch


def digits(short: bool = False) -> Reproduction:
    """scikit-learn's digits with a multilayer perceptron."""
    return _images("digits", {"steps": 800 if short else 3000, "batch": 256}, short)


def mnist(short: bool = False) -> Reproduction:
    """Five thousand MNIST images with a UNet."""

    def net(event, encoder, *, key):
        return UNet(event, condition=encoder, key=key)

    return _images("mnist", {"steps": 10 if short else 1500, "batch": 64, "net": net, "learning_rate": 2e-3}, short)


def _images(name, choices, short):
    clock, key = Stopwatch(), jax.random.key(0)
    train, held = split(dataset(name), 0.2, seed=0)
    began = time.monotonic()
    options = {"condition": train.labels, "labels": train.label_names, "quantum": train.quantum, "bounds": train.bounds}
    training = Training.of(train.x, key=key, **options, **choices)
    flow = training.transport(training.run(choices["steps"], key=key, label=name))
    seconds = time.monotonic() - began
    # One net evaluation of the UNet costs as much as a hundred of the perceptron: fewer points, fewer steps.
    large = name == "mnist"
    most = 200 if short else 300 if large else 1000
    found = certify(
        flow,
        held.x,
        train.x,
        key=key,
        condition=held.labels,
        train_condition=train.labels,
        most=most,
        steps=50 if short or large else 100,
        replicates=4 if large else 8,
    )
    judged = {
        kind: _recognised(flow, train, held, sde, key, 200 if short else 500 if large else 2000)
        for kind, sde in (("ODE", None), ("SDE", 0.5))
    }
    claims = [_labels_claim(kind, *numbers) for kind, numbers in judged.items()]
    claims += _certificate_claims(found)
    if short and large:
        # Ten steps show that it runs; they are no test of what it learns.
        claims = [dataclasses.replace(claim, holds=None) for claim in claims]
    claims.append(Claim("training time", "", f"{seconds:.0f} s for {choices['steps']} steps", "", None))
    return clock.done(f"certificate-{name}", claims)


def _recognised(flow, train, held, sde, key, n):
    """Share of conditional samples, and of held-out images, whose label a classifier of real images gives."""
    from sklearn.svm import SVC

    width = float(train.bounds[1])
    flat = lambda x: np.clip(np.asarray(x).reshape(len(x), -1) / width, 0, 1)  # noqa: E731
    judge = SVC(C=10.0).fit(flat(train.x), train.labels)
    asked = flow.draw_conditions(n, key=jax.random.fold_in(key, 11))
    drawn = flow.sample(n, key=key, sde=sde, condition=asked, steps=50 if flow.event[0] > 8 else 100)
    return float(judge.score(flat(drawn), np.asarray(asked))), float(judge.score(flat(held.x), held.labels)), n


def _labels_claim(kind, share, real, n):
    error = (share * (1 - share) / n) ** 0.5
    here, base = f"{share:.1%} ± {error:.1%}", f"held-out images {real:.1%}"
    return Claim(f"{kind}: a classifier of real images recognises the samples", ">= 98 %", here, base, share >= 0.98)


def _certificate_claims(found: Certificate):
    for check in found.checks:
        base = f"{check.against} {check.reference:.4g}" if check.against else ""
        if check.reference > 0 and check.against == "floor":
            base += f", ratio {check.value / check.reference:.2f}"
        yield Claim(
            f"certificate: {check.name}", "passed", f"{check.value:.4g} ± {check.stderr:.2g}", base, check.holds
        )
