"""Score-based generative modelling by SDEs (2011.13456): reverse SDE, probability flow, likelihood.

Setting    data N(0, 1/4) noised by VP (beta 0.1 to 20), where a sampler's variance follows a recursion without chance;
           and the two-mode mixture, exact score, for marginals and likelihood
Time       the page's tables run in the paper's time, 1 (noise) to 1e-3; here t = 1 - s
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from ..core import Score, estimate
from ..flows import DiffusionPath, FlowODE, FlowSDE, Gaussian, VanishingNoise, log_prob
from ..problems import MixtureInterpolant, gaussian, two_modes
from ..processes import VP, EulerMaruyama, simulate
from .claims import Claim, Reproduction, Stopwatch

# What the recursion gives in the paper's own discretisation; computed independently and kept as the oracle.
TABLE = {"SDE": {50: 0.25826, 100: 0.25390, 1000: 0.25044}, "ODE": {50: 0.24593, 100: 0.24791, 1000: 0.24986}}
TARGET, END = 0.25, 1e-3


def score_sde(short: bool = False) -> Reproduction:
    """Discretisation error of both samplers, equality of their marginals, and the likelihood."""
    clock = Stopwatch()
    claims = [*_variances(), *_marginals(4000 if short else 40_000, 250 if short else 1000), _likelihood()]
    claims.append(Claim("CIFAR-10: FID 2.20, 2.99 bits/dim", "README of the code", "not run", "", None))
    return clock.done("score-sde", claims)


def _variances():
    """Var_{k+1} = a_k^2 Var_k + g^2 h for the SDE, a_k^2 Var_k for the ODE, with the exact score -x / Var(s)."""
    with jax.enable_x64(True):
        process = VP(jnp.asarray(0.1), jnp.asarray(20.0))
        found = {kind: {n: _recursion(process, n, kind) for n in (50, 100, 1000)} for kind in ("SDE", "ODE")}
        end = jnp.asarray(END)
        truth = float(process.scale(end) ** 2 * TARGET + process.std(end) ** 2)
    for kind, values in found.items():
        shown = "/".join(f"{v:.5f}" for v in values.values())
        paper = "/".join(f"{v:.5f}" for v in TABLE[kind].values())
        agree = all(abs(values[n] - TABLE[kind][n]) < 2e-5 for n in values)
        yield Claim(f"{kind}: variance after 50/100/1000 steps", paper, shown, f"exact {truth:.6f}", bool(agree))
        ratio = (values[50] - truth) / (values[100] - truth)
        yield Claim(f"{kind}: first order (error 50 / error 100)", "2", f"{ratio:.2f}", "", bool(1.7 < ratio < 2.4))


def _recursion(process, n, kind):
    s = np.linspace(1.0, END, n + 1)
    variance = 1.0
    for a, b in pairwise(s):
        t, h = jnp.asarray(a), a - b
        law = float(process.scale(t) ** 2 * TARGET + process.std(t) ** 2)
        g2 = float(process.diffusion(t, jnp.ones(1)) ** 2)
        f = float(process.drift(t, jnp.ones(1))[0])
        share = 1.0 if kind == "SDE" else 0.5
        factor = 1 - h * (f + share * g2 / law)
        variance = factor**2 * variance + (g2 * h if kind == "SDE" else 0.0)
    return variance


def _marginals(n, steps):
    path, key = DiffusionPath(VP()), jax.random.key(0)
    exact = MixtureInterpolant(gaussian(np.zeros(2), np.eye(2)), two_modes(), path)
    x0 = exact.marginal(0.0).sample(key, n)
    ts = jnp.linspace(0.0, 1.0 - END, steps + 1)
    score = Score(exact.score.fn)
    motions = {
        "probability flow": FlowODE(exact.velocity, path),
        "reverse SDE": FlowSDE(velocity=exact.velocity, path=path, score=score, noise=VanishingNoise(1.0, path)),
    }
    law = exact.marginal(1.0 - END)
    mean, cov = np.asarray(law.mean), np.asarray(law.covariance)
    for name, motion in motions.items():
        x = np.asarray(
            simulate(motion, x0, ts, method=None if name != "reverse SDE" else EulerMaruyama(), key=key).value
        )
        found = estimate(jnp.asarray(x))
        spread = estimate(jnp.asarray((x - mean) ** 2))
        # The allowance is for first-order steps.
        z = np.max(np.abs(found.mean - mean) / (np.asarray(found.stderr) + 2 / steps))
        z2 = np.max(np.abs(spread.mean - np.diag(cov)) / (np.asarray(spread.stderr) + 5 / steps))
        shown = f"largest |z|: mean {z:.1f}, variance {z2:.1f}"
        yield Claim(f"{name}: the data's law from the exact score", "same marginals", shown, "", bool(max(z, z2) < 4.5))


def _likelihood():
    path, key = DiffusionPath(VP()), jax.random.key(1)
    exact = MixtureInterpolant(gaussian(np.zeros(2), np.eye(2)), two_modes(), path)
    x = two_modes().sample(key, 200)
    prior = Gaussian((2,), float(path.alpha(jnp.asarray(0.0))))
    found = log_prob(FlowODE(exact.velocity, path), prior, x, key=key, steps=400).mean
    error = float(jnp.abs(jnp.mean(found - jax.vmap(two_modes().log_prob)(x))))
    return Claim("likelihood by the probability flow", "exact", f"mean error {error:.1e} nats", "", error < 2e-2)
