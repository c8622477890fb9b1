"""Energies trained with Jarzynski's weights (2305.19414): the mass of a mode, and real digits.

Modes      data 1/4 N(-10 e_1, I) + 3/4 N(6 e_1, I) in d = 10; U = -log(e^{-|x - a|^2/2} + e^{-|x - b|^2/2 - z}), so
           log Z = (d/2) log 2 pi + log(1 + e^{-z}) is known. Fixed: a and b are the data's, z starts at 0; learned: a
           and b start at -0.1 e_1 and 0.1 e_1. Full batches; the paper has d = 50 and five times the walkers
Images     8 x 8 digits in all their 64 pixels, and MNIST's 28 x 28 along its 64 widest principal axes (of the training
           part, dequantised), whitened, so that the first energy is the best Gaussian; a perceptron learns what
           differs. The judge is the log-likelihood of held-out images, with log Z by annealing, which knows nothing of
           how the energy was trained. The paper has convolutions, three labels and all pixels
Baselines  contrastive divergence (walkers put back on the data every 4 steps), and persistent: walkers from the base,
           or from the data, that keep equal weights
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..core import Status, ess, run, solve, succeeded
from ..nets import MLP
from ..problems import Mixture, Normal, dataset, split
from ..sampling.annealing import Annealing
from ..sampling.ebm import (
    AllMove,
    Contrastive,
    EnergyData,
    EnergyDensity,
    EnergyTraining,
    JarzynskiWalkers,
    Persistent,
)
from ..sampling.evidence import WIDE, Evidence, evidence
from ..sampling.kernels import HMC
from ..sampling.movers import Invariant
from ..sampling.tempering import Adaptive, Tempering
from .claims import Claim, Reproduction, Stopwatch

DIMENSION, TRUTH = 10, 0.25
PHASES = {
    "Jarzynski": JarzynskiWalkers(),
    "CD": Contrastive(4),
    "PCD from data": Contrastive(None),
    "PCD from base": Persistent(),
}
# How far the mass may be from the data's own share, which is where the cross-entropy is least.
CLOSE = 0.03
# And the cross-entropy in nats.
NEAR = 0.1


class TwoModes(eqx.Module):
    """Two unit Gaussians of energies 0 and z at their centres."""

    a: jax.Array
    b: jax.Array
    z: jax.Array

    def __call__(self, x):
        """U at one point."""
        near = lambda m: -0.5 * jnp.sum((x - m) ** 2)  # noqa: E731
        return -jnp.logaddexp(near(self.a), near(self.b) - self.z)

    @property
    def mass(self):
        """Of the mode at a."""
        return jax.nn.sigmoid(self.z)

    @property
    def log_z(self):
        """log of the integral of e^{-U}."""
        return 0.5 * self.a.size * np.log(2 * np.pi) + jnp.logaddexp(0.0, -self.z)


class Confined(eqx.Module):
    """U(x) = net(x) + |x|^2 / 2; with a net that starts at zero, theta_0 is the standard Gaussian."""

    net: MLP

    def __call__(self, x):
        """U at one point."""
        return self.net(0.0, x) + 0.5 * jnp.sum(x**2)


def jarzynski_ebm(short: bool = False) -> Reproduction:
    """Mode masses, the cross-entropy during training, and held-out digits, for four negative phases."""
    clock = Stopwatch()
    claims = list(_fixed(short))
    if not short:
        claims += [*_learned(), *_images("digits"), *_images("mnist")]
    else:
        claims.append(Claim("modes learned, digits, MNIST", "-", "not run in the short form", "", None))
    claims.append(Claim("MNIST and CIFAR-10 with convolutional energies: FID, masses", "-", "not run", "", None))
    return clock.done("jarzynski-ebm", claims)


@dataclass(frozen=True)
class Learned:
    """Mass of the mode at a, the data's own share there, first coordinates of a and b, cross-entropy as told and exact,
    least ESS, no failure."""

    mass: float
    share: float
    centres: tuple[float, float]
    told: float | None
    exact: float
    ess: float
    finished: bool


def _descent(rate_means, rate_z=0.125):
    def descend(g: Any, _: Any) -> Any:
        return TwoModes(-rate_means * g.a, -rate_means * g.b, -rate_z * g.z)

    return optax.stateless(descend)


# Whether the means are learned, too.
DESCENT = {False: _descent(0.0), True: _descent(0.025)}


def modes(phase, learned: bool, seeds: int, steps: int, walkers: int = 2000) -> list[Learned]:
    """What each seed has learned; the first energy is at the data's centres, or next to the origin."""
    a, b = (-0.1, 0.1) if learned else (-10.0, 6.0)
    axis = jnp.zeros(DIMENSION).at[0].set(1.0)
    eye = np.eye(DIMENSION)
    data = Mixture(np.asarray([0.25, 0.75]), np.stack([-10 * eye[0], 6 * eye[0]]), np.stack([eye, eye]))
    base = Mixture(np.asarray([0.5, 0.5]), np.stack([a * eye[0], b * eye[0]]), np.stack([eye, eye]))
    model = TwoModes(a * axis, b * axis, jnp.zeros(()))

    method = EnergyTraining(model, DESCENT[learned], AllMove(0.1), phase, walkers)
    found = []
    for seed in range(seeds):
        key = jax.random.key(seed)
        problem = EnergyData(data.sample(jax.random.fold_in(key, 1), walkers), base)
        done = run(method, problem, steps=steps, key=key, throw=False)
        model = done.value.model
        exact = float(model.log_z + jnp.mean(jax.vmap(model)(problem.data)))
        told = float(done.value.cross_entropy(problem.data)) if phase.weighted else None
        where = (float(model.a[0]), float(model.b[0]))
        finished = bool(done.status == Status.finished)
        share = float(jnp.mean(problem.data[:, 0] < 0))
        found.append(Learned(float(model.mass), share, where, told, exact, float(done.info.ess.min()), finished))
    return found


def _fixed(short):
    seeds, steps, walkers = (1, 1500, 1000) if short else (2, 4000, 2000)
    # Two baselines in the short form: most of its time is compilation.
    names = ["Jarzynski", "CD", "PCD from base"] if short else list(PHASES)
    found = {name: modes(PHASES[name], False, seeds, steps, walkers) for name in names}
    others = "; ".join(f"{name} {_list(r.mass for r in found[name])}" for name in names[1:])
    what = f"modes fixed, d = {DIMENSION}, {steps} steps: mass of the mode of {TRUTH}"
    here = f"{_list(r.mass for r in found['Jarzynski'])}; the data have {_list(r.share for r in found['Jarzynski'])}"
    yield Claim(what, "recovered", here, others, _close(found["Jarzynski"]))
    missed = [name for name in names[1:] if not _close(found[name])]
    here = f"{len(missed)} of {len(names) - 1} miss it by more than {CLOSE}"
    what = "the same: no method without weights finds it"
    yield Claim(what, "outperforms CD in all situations", here, others, len(missed) == len(names) - 1)
    yield _entropy("modes fixed", found["Jarzynski"])


def _learned():
    found = {name: modes(phase, True, 2, 4000) for name, phase in PHASES.items()}
    cell = {
        name: ", ".join(f"{r.mass:.3f} at ({r.centres[0]:.1f}, {r.centres[1]:.1f})" for r in runs)
        for name, runs in found.items()
    }
    others = "; ".join(f"{name} {cell[name]}" for name in list(PHASES)[1:])
    what = "modes learned from the origin: mass, and centres of (-10, 6)"
    yield Claim(what, "recovered", cell["Jarzynski"], others, _close(found["Jarzynski"]))
    reached = all(abs(r.centres[0] + 10) < 0.1 and abs(r.centres[1] - 6) < 0.1 for r in found["Jarzynski"])
    yield Claim("the same: centres within 0.1", "recovered", cell["Jarzynski"], others, reached)
    exact = {name: [r.exact for r in runs] for name, runs in found.items()}
    others = "; ".join(f"{name} {_list(exact[name])}" for name in list(PHASES)[1:])
    best = all(np.less(exact["Jarzynski"], exact[name]).all() for name in list(PHASES)[1:])
    yield Claim("the same: lowest exact cross-entropy", "lowest", _list(exact["Jarzynski"]), others, best)
    yield _entropy("modes learned", found["Jarzynski"])


def _close(runs):
    return all(abs(r.mass - r.share) < CLOSE for r in runs)


def _list(values):
    return ", ".join(f"{v:.3f}" for v in values)


def _entropy(what, runs):
    here = f"{_list(r.told for r in runs)} (least ESS {min(r.ess for r in runs):.0f})"
    good = all(r.finished and abs(r.told - r.exact) < NEAR for r in runs)
    what = f"{what}: cross-entropy told by the walkers, within {NEAR}"
    return Claim(what, "tracks it", here, f"exact {_list(r.exact for r in runs)}", good)


def whitened(name: str, axes: int = 64, seed: int = 0):
    """Training and held-out images (n, axes) along the widest axes, dequantised, whitened; log |det| along them."""
    parts = split(dataset(name), 0.2, seed=0)
    rng = np.random.default_rng(seed)
    # Each training image four times, with other noise: the grid is then learned by nobody.
    train, held = (
        np.concatenate([p.x.reshape(len(p), -1)] * k).astype(np.float64) for p, k in zip(parts, (4, 1), strict=True)
    )
    train, held = (x + rng.uniform(size=x.shape) for x in (train, held))
    mean = train.mean(0)
    values, vectors = np.linalg.eigh(np.cov((train - mean).T))
    values, vectors = values[-axes:], vectors[:, -axes:]
    white = lambda x: jnp.asarray((x - mean) @ vectors / np.sqrt(values), jnp.float32)  # noqa: E731
    return white(train), white(held), -0.5 * float(np.log(values).sum())


def energies(train, phase, *, steps: int, seed: int, walkers: int = 500, rate=2e-4, step_size=0.06, width=64):
    """A perceptron in a Gaussian well, trained on whitened points."""
    d, key = train.shape[1], jax.random.key(seed)
    model = Confined(MLP((d,), out=(), width=width, depth=2, zero=True, key=jax.random.fold_in(key, 1)))
    optimiser = optax.adam(optax.linear_schedule(rate, 0.0, steps), b1=0.0)
    method = EnergyTraining(model, optimiser, AllMove(step_size), phase, walkers, walkers if phase.weighted else 0)
    problem = EnergyData(train, Normal(jnp.zeros(d)), batch=256)
    return run(method, problem, steps=steps, key=key, throw=False)


def anneal(model, d: int, particles: int) -> Evidence:
    """log Z of an energy from a Gaussian, by two runs that know nothing of its training."""
    kernel = HMC(step_size=0.2, leaps=5)
    method = Annealing(Invariant(kernel), Adaptive(0.9), particles)
    problem = Tempering(Normal(jnp.zeros(d)), EnergyDensity(model, (d,)))
    keys = [jax.random.key(100 + i) for i in range(2)]
    tallies = [solve(method, problem, max_steps=200, key=k, throw=False).value.tally for k in keys]
    return evidence(jax.tree.map(lambda *x: jnp.stack(x), *tallies))


def _images(data, steps=2000):
    train, held, log_det = whitened(data)
    d = train.shape[1]
    gaussian = float(jnp.mean(jax.vmap(Normal(jnp.zeros(d)).log_prob)(held)))
    gain, own = {}, {}
    for name, phase in PHASES.items():
        done = energies(train, phase, steps=steps, seed=0)
        found = anneal(done.value.model, d, 500)
        energy = float(jnp.mean(jax.vmap(done.value.model)(held)))
        gain[name] = Gain(-float(found.log_z.mean) - energy - gaussian, float(found.log_z.stderr), found)
        own[name] = done
    best, trained = gain["Jarzynski"], own["Jarzynski"]
    sure = best.nats > 3 * best.stderr and best.sound and bool(trained.status == Status.finished)
    text = f"{best}; {(-log_det - gaussian - best.nats) / d / np.log(2):.3f} bits a coordinate"
    base = f"{(-log_det - gaussian) / d / np.log(2):.3f} bits a coordinate"
    what = f"{data}, {steps} steps: log-likelihood of held-out images over the Gaussian's, nats an image"
    yield Claim(what, "-", text, f"the Gaussian, {base}", sure)
    for name in list(gain)[1:]:
        margin, error = best.nats - gain[name].nats, float(np.hypot(best.stderr, gain[name].stderr))
        better = margin > 2 * error if best.sound and gain[name].sound else None
        yield Claim(f"{data}: higher than with {name}", "outperforms CD", str(best), str(gain[name]), better)
    groups, truth = trained.state.state, f"annealing {best.evidence.log_z}"
    for who, walkers in (("referees", groups.referees), ("walkers that pull the parameters", groups.walkers)):
        told, size = float(walkers.log_z), len(walkers.log_w)
        here = f"{told:.2f} (ESS {float(ess(walkers.log_w)):.0f} of {size})"
        agree = abs(told - float(best.evidence.log_z.mean)) < WIDE if best.sound else None
        yield Claim(f"{data}: log Z told by the {size} {who}, within {WIDE}", "exact weights", here, truth, agree)


@dataclass(frozen=True)
class Gain:
    """Nats an image above the Gaussian, with the standard error of log Z, and whether annealing vouches for that."""

    nats: float
    stderr: float
    evidence: Evidence

    @property
    def sound(self):
        """Whether the interval can be used."""
        return bool(succeeded(self.evidence.status))

    def __str__(self):
        status = "" if self.sound else f" REFUSED: {Status[self.evidence.status].split(':')[0]}"
        return f"{self.nats:+.2f} ± {self.stderr:.2f} (annealing: ESS {float(self.evidence.ess):.0f}){status}"
