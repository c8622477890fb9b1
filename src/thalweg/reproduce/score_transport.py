"""Score-based transport modelling (2206.04642): particles moved by a score that is learned on them.

Setting    the paper's drifts with noise sqrt(2 D), D = 1/4: a harmonic trap that attracts particles to their mean, a
           trap of fourth order, five particles that repel in it, a swimmer that is driven by its own velocity
Traps      move on a circle, mu(t) = 2 (cos pi^2 t, sin pi^2 t) (harmonic) and 3 (cos pi t, sin pi t) (five) as in
           its code; cos and sin of 1.5 t for one particle, so that a grid resolves it
Truth      exact Gaussian moments, a grid in two dimensions, or an SDE with many particles
Score      `Linear()`, or nets of 32 x 32 in Whitened or Scaled coordinates; the paper's own, Raw, beside them
Seeds      the key of the draws and of the training
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from ..core import AbstractProcess, Exact, Probes, run
from ..nets import MLP
from ..pde import (
    Denoised,
    FokkerPlanck,
    Linear,
    Raw,
    Scaled,
    ScoreTransport,
    Trained,
    evolve,
    kl_bound,
    pair_score,
)
from ..pde.grid import current, entropy_rate
from ..problems import Normal
from ..processes import ODE, Euler, Grid, simulate
from .claims import Claim, Reproduction, Stopwatch

D = 0.25
BOUND = 4.5
KEY = jax.random.key(0)


class HarmonicTrap(AbstractProcess):
    """N particles in a moving trap: -x_i/2 - mean/2 + mu(t)."""

    def drift(self, t, x):
        """The force on every particle."""
        return -0.5 * x - 0.5 * jnp.mean(x, axis=0) + _circle(2.0, jnp.pi**2, t)

    def diffusion(self, t, x):
        """sqrt(2 D)."""
        return jnp.asarray((2 * D) ** 0.5, x.dtype)


class FourthOrderTrap(AbstractProcess):
    """-B |x_i - mu|^2 (x_i - mu), and a Gaussian repulsion of strength A and range r between particles."""

    strength: float = eqx.field(static=True, default=1.0)
    A: float = eqx.field(static=True, default=0.0)
    r: float = eqx.field(static=True, default=0.5)
    radius: float = eqx.field(static=True, default=3.0)
    frequency: float = eqx.field(static=True, default=np.pi)

    def drift(self, t, x):
        """The force on every particle, (N, d), or on one, (d,)."""
        apart = x - _circle(self.radius, self.frequency, t)
        pull = -self.strength * apart * jnp.sum(apart**2, axis=-1, keepdims=True)
        if x.ndim == 1:
            return pull
        gaps = x[:, None] - x
        near = jnp.exp(-jnp.sum(gaps**2, axis=-1, keepdims=True) / (2 * self.r**2))
        return pull + self.A / self.r**2 * jnp.mean(gaps * near, axis=1)

    def diffusion(self, t, x):
        """sqrt(2 D)."""
        return jnp.asarray((2 * D) ** 0.5, x.dtype)


class Swimmer(AbstractProcess):
    """(x, v) with dx = (v - x^3) dt, dv = -gamma v dt + sqrt(2 gamma) dW: noise on the velocity alone."""

    gamma: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.1)

    def drift(self, t, x):
        """Trap and persistence."""
        return jnp.stack([x[1] - x[0] ** 3, -self.gamma * x[1]])

    def diffusion(self, t, x):
        """Zero, and sqrt(2 gamma)."""
        return jnp.stack([jnp.zeros_like(self.gamma), jnp.sqrt(2 * self.gamma)])


def _circle(radius, frequency, t):
    return radius * jnp.stack([jnp.cos(frequency * t), jnp.sin(frequency * t)])


def score_based_transport(short: bool = False) -> Reproduction:
    """Do particles without noise have the moments and the entropy of the solution, and is their score its score?"""
    clock = Stopwatch()
    claims = []
    for particles, n in ((5, 300),) if short else ((5, 300), (20, 300), (50, 300), (50, 3000)):
        claims += _harmonic(particles, n, 40 if short else 200)
    if not short:
        claims += _nets(1.0, 200)
    claims += _fourth_order(short)
    if not short:
        claims += _five()
        claims += _swimmer()
    claims += [
        Claim("harmonic trap, N = 50, by a net, T = 5, dt = .001", "plots", "not run: a GPU's work", "", None),
        Claim("swimmer up to T = 100, n = 10^4", "plots", "not run: T = 5 instead", "", None),
        Claim("no control when the score is learned on draws of the SDE", "stated", "not run", "", None),
    ]
    return clock.done("score-based-transport", claims)


def _transported(scores, problem, n, held_out=0):
    """The run, and the seconds of a second one, in which nothing is compiled, for a unit of time."""
    method = ScoreTransport(scores, n, held_out)
    found = run(method, problem, steps=problem.steps, key=KEY, throw=False)
    jax.block_until_ready(found.value.x)
    began = time.perf_counter()
    jax.block_until_ready(run(method, problem, steps=problem.steps, key=KEY, throw=False).value.x)
    return found, (time.perf_counter() - began) / float(problem.ts[-1] - problem.ts[0])


def _drawn(problem, n):
    """Draws of the SDE, and what the drift alone makes of the same start."""
    # Keys of their own: the runner folds step numbers into the one that it is given.
    start, noise = jax.random.split(jax.random.key(1))
    x0 = problem.initial.sample(start, n)
    noisy = simulate(problem.process, x0, problem.ts, key=noise).value
    return np.asarray(noisy), np.asarray(simulate(ODE(problem.process.drift), x0, problem.ts, method=Euler()).value)


def _spread(x):
    """The trace of the covariance, and its standard error for independent draws."""
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    each = np.sum((flat - flat.mean(0)) ** 2, axis=1)
    return each.mean() * len(x) / (len(x) - 1), each.std() / len(x) ** 0.5


def _harmonic_problem(particles, steps, t=1.0):
    start = Normal(jnp.tile(jnp.asarray([2.0, 0.0]), (particles, 1)), 0.25)
    return FokkerPlanck(HarmonicTrap(), start, jnp.linspace(0.0, t, steps + 1))


def _harmonic_exact(particles, t=1.0):
    """Variances of the mean mode and of the others, times the dimension two: trace, entropy rate and the variances."""
    rates, counts = np.asarray([1.0, 0.5]), 2 * np.asarray([1, particles - 1])
    v = D / rates + (0.0625 - D / rates) * np.exp(-2 * rates * t)
    return counts @ v, counts @ (D / v - rates), v


def _harmonic(particles, n, steps):
    problem = _harmonic_problem(particles, steps)
    truth, rate, _ = _harmonic_exact(particles)
    scores = Linear(Probes(1))
    found, seconds = _transported(scores, problem, n)
    here, drawn = _spread(found.value.x)[0], _drawn(problem, n)
    sde, bare = _spread(drawn[0]), _spread(drawn[1])
    # Only the first draws are random, and their spread is forgotten at rates of 1 and more; 1 % for the steps in time.
    noise = 0.0625 * (2 * 2 * particles / n) ** 0.5 * np.exp(-1.0)
    where = f"harmonic trap, N = {particles}, d = 2, n = {n}, linear score"
    page = "33.676; 33.669 by n = 300" if particles == 50 else "exact"
    yield Claim(
        f"{where}: tr Cov at t = 1 is {truth:.3f}",
        page,
        f"{here:.3f}",
        f"SDE {sde[0]:.3f} ± {sde[1]:.2f}; no score {bare[0]:.3f}",
        bool(abs(here - truth) < BOUND * noise + 0.01 * truth),
    )
    yield Claim(
        f"{where}: the drift without a score fails",
        "2.25" if particles == 50 else "fails",
        f"{here / truth:.4f} of tr Cov",
        f"no score: {bare[0] / truth:.4f}",
        bool(abs(bare[0] - truth) > 0.5 * truth),
    )
    got = float(found.info.entropy_rate.mean[-1])
    small = n / (n - 2 * particles - 2)
    yield Claim(
        f"{where}: entropy production at t = 1 to 5 % (C^-1 of n draws is too large by n/(n-d-2) = {small:.2f})",
        f"{rate:.3f} (exact)",
        f"{got:.3f}; {seconds:.2g} s a unit of time",
        "",
        bool(abs(got - rate) < 0.05 * abs(rate)),
    )


def _nets(t, n):
    """Five particles in the harmonic trap, by nets: trace, error of the score, and the bound on KL."""
    problem, event = _harmonic_problem(5, 100, t), (5, 2)
    truth, _, v = _harmonic_exact(5, t)
    sde, bare = (_spread(x) for x in _drawn(problem, n))
    adam = optax.adam(1e-3)
    mlp, plain = (MLP(event, width=32, depth=2, zero=zero, key=KEY) for zero in (True, False))
    pairs = pair_score(event, depth=1, key=KEY)
    families = {
        "net, Whitened": Trained(mlp, adam, steps=5, batch=100),
        "net of pairs, Scaled": Trained(pairs, optax.adam(3e-3), Denoised(0.1), frame=Scaled(), steps=8),
        "net, Raw": Trained(plain, optax.adam(5e-3), Denoised(0.1), frame=Raw(), steps=25, gradient=0.1),
        "linear": Linear(),
    }
    for name, scores in families.items():
        method = ScoreTransport(scores, n, 200, Probes(4) if "pairs" in name else Exact())
        found = run(method, problem, steps=problem.steps, key=KEY, throw=False)
        here = _spread(found.value.x)[0]
        error = _score_error(found, lambda x: _harmonic_score(problem, x, v))
        where = f"harmonic trap, N = 5, n = {n}, {name}"
        yield Claim(
            f"{where}: tr Cov to 10 %",
            f"{truth:.3f} (exact)",
            f"{here:.3f}; |s - s*|^2/|s*|^2 = {error:.2g} on particles held out",
            f"SDE {sde[0]:.3f} ± {sde[1]:.2f}; no score {bare[0]:.3f}",
            bool(abs(here - truth) < 0.1 * truth),
        )
        held = found.value.held_out
        gap = np.asarray(found.value.held_log_prob, float) - np.asarray(_harmonic_log_prob(problem, held, v), float)
        kl, stderr, bound = gap.mean(), gap.std() / len(gap) ** 0.5, kl_bound(problem, found.info)
        yield Claim(
            f"{where}: KL(rho | rho*) is at most a quarter of the integral of E|s - grad log rho|_D^2",
            f"<= {float(bound.mean):.3g} ± {float(bound.stderr):.2g} (its bound)",
            f"{kl:.3g} ± {stderr:.2g}",
            "",
            bool(kl - BOUND * stderr < float(bound.mean + BOUND * bound.stderr)),
        )


def _centre(problem):
    """The mean of a particle: m' = -m + mu(t), by fine Euler steps as the particles take them."""
    m = problem.initial.mean[:1]
    for k in range(problem.steps):
        t, dt = problem.ts[k], problem.ts[k + 1] - problem.ts[k]
        m = m + dt * HarmonicTrap().drift(t, m)
    return m


def _harmonic_score(problem, x, v):
    """The exact score: the mean of the particles has the variance v[0], what is left v[1]."""
    z = x - _centre(problem)
    mean = jnp.mean(z, axis=-2, keepdims=True)
    return -mean / v[0] - (z - mean) / v[1]


def _harmonic_log_prob(problem, x, v):
    z = x - _centre(problem)
    n, mean = x.shape[-2], jnp.mean(z, axis=-2, keepdims=True)
    together = n * jnp.sum(mean**2, axis=(-1, -2)) / v[0] + jnp.sum((z - mean) ** 2, axis=(-1, -2)) / v[1]
    return -0.5 * (together + 2 * (n * np.log(2 * np.pi) + np.log(v[0]) + (n - 1) * np.log(v[1])))


def _score_error(found, exact):
    """E|s - s*|^2 / E|s*|^2 over the held-out particles."""
    x = found.value.held_out
    s, truth = jax.vmap(lambda x: found.value.score(0.0, x))(x), exact(x)
    return float(jnp.sum((s - truth) ** 2) / jnp.sum(truth**2))


def _fourth_order(short):
    """One particle in a moving trap of fourth order, in two dimensions, against the grid."""
    steps, n = (40, 300) if short else (200, 1000)
    # Slow enough that a grid resolves it.
    process = FourthOrderTrap(radius=1.0, frequency=1.5)
    start = Normal(jnp.asarray([1.6, -0.4]), 0.45)
    problem = FokkerPlanck(process, start, jnp.linspace(0.0, 0.2 if short else 1.0, steps + 1))
    cells = 60 if short else 100
    # The grid is of second order in time, and the particles of first.
    coarse = FokkerPlanck(process, start, problem.ts[::4])
    truth = evolve(coarse, Grid((-2.5, -2.5), (4.0, 3.0), (cells, cells))).final
    net = MLP((2,), width=32, depth=2, zero=True, key=KEY)
    scores = Trained(net, optax.adam(1e-3), steps=10)
    found, seconds = _transported(scores, problem, n, 400)
    where = f"fourth-order trap, d = 2, n = {n}, against the grid"
    yield from _against_grid(where, problem, found, truth, seconds, n)


def _against_grid(where, problem, found, truth, seconds, n):
    """Trace, score and entropy of a run, the SDE of the same size with a kernel density, and the drift alone."""
    from scipy.stats import gaussian_kde

    _drawn(problem, n)
    began = time.perf_counter()
    drawn, bare = _drawn(problem, n)
    kernel = gaussian_kde(drawn.T)
    entropy = -np.log(kernel(drawn.T))
    cost = (time.perf_counter() - began) / float(problem.ts[-1] - problem.ts[0])
    want, here, sde = np.trace(truth.covariance), _spread(found.value.x), _spread(drawn)
    yield Claim(
        f"{where}: tr Cov",
        f"{want:.4f} (grid)",
        f"{here[0]:.4f} ± {here[1]:.2g}; {seconds:.2g} s a unit of time",
        f"SDE {sde[0]:.4f} ± {sde[1]:.2g}; no score {_spread(bare)[0]:.4f}",
        bool(abs(here[0] - want) < BOUND * here[1] + 0.01 * want),
    )
    everywhere = np.concatenate([found.value.x, found.value.held_out])
    lost = int(np.sum(~np.isfinite(everywhere).all(axis=1)))
    yield Claim(
        f"{where}: no particle is lost where the score has not been learned",
        "",
        f"{lost} of {len(everywhere)}, of which {len(found.value.held_out)} are held out",
        "",
        lost == 0,
    )
    H = found.value.entropy
    yield Claim(
        f"{where}: entropy",
        f"{truth.entropy:.3f} (grid)",
        f"{float(H.mean):.3f} ± {float(H.stderr):.2g}",
        f"SDE and kernel density {entropy.mean():.3f} ± {entropy.std() / n**0.5:.2g}; {cost:.2g} s a unit of time",
        bool(abs(float(H.mean) - truth.entropy) < BOUND * float(H.stderr) + 0.01),
    )
    x = np.asarray(found.value.x)
    exact = truth.score(x)
    inside = np.isfinite(exact).all(axis=1)
    noisy = np.asarray(problem.process.diffusion(problem.ts[-1], found.value.x[0]) != 0)
    s = np.asarray(jax.vmap(lambda x: found.value.score(0.0, x))(found.value.x))
    error = lambda s: float(np.sum(((s - exact)[inside] * noisy) ** 2) / np.sum((exact[inside] * noisy) ** 2))  # noqa: E731
    slope = _kernel_score(kernel, x)
    yield Claim(
        f"{where}: the score is nearer to the grid's than that of a kernel density of the SDE",
        "less",
        f"|s - s*|^2/|s*|^2 = {error(s):.2g}",
        f"kernel density {error(slope):.2g}",
        bool(error(s) < error(slope)),
    )


def _kernel_score(kernel, x):
    """grad log of SciPy's kernel density."""
    data, inverse = kernel.dataset.T, kernel.inv_cov
    gaps = data[None] - x[:, None]
    log_w = -0.5 * np.einsum("nmi,ij,nmj->nm", gaps, inverse, gaps)
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    return np.einsum("nm,nmi->ni", w / w.sum(axis=1, keepdims=True), gaps) @ inverse


def _five():
    """Five particles that repel in a moving trap: the paper's second example, by a net of pairs."""
    n, event = 500, (5, 2)
    start = Normal(jnp.tile(jnp.asarray([3.0, 0.0]), (5, 1)), 0.5)
    process = FourthOrderTrap(4 * D / 2.5**2, 2.0)
    problem = FokkerPlanck(process, start, jnp.linspace(0.0, 1.0, 101))
    truth = _spread(_drawn(problem, 20_000)[0])
    scores = Trained(
        pair_score(event, depth=1, key=KEY), optax.adam(3e-3), Denoised(0.1), frame=Scaled(), steps=8, batch=200
    )
    found, seconds = _transported(scores, problem, n)
    here, drawn = _spread(found.value.x), _drawn(problem, n)
    sde, bare = _spread(drawn[0]), _spread(drawn[1])
    yield Claim(
        f"five particles that repel, n = {n}, net of pairs: tr Cov at t = 1 to 10 %",
        f"{truth[0]:.3f} ± {truth[1]:.2g} (SDE with 20 000)",
        f"{here[0]:.3f} ± {here[1]:.2g}; {seconds:.2g} s a unit of time",
        f"SDE {sde[0]:.3f} ± {sde[1]:.2g}; no score {bare[0]:.3f}",
        bool(abs(here[0] - truth[0]) < 0.1 * truth[0]),
    )


def _swimmer():
    """The active swimmer: noise on the velocity alone, and a current that does not die."""
    n = 1000
    start = Normal(jnp.zeros(2))
    problem = FokkerPlanck(Swimmer(), start, jnp.linspace(0.0, 5.0, 501))
    coarse = FokkerPlanck(Swimmer(), start, jnp.linspace(0.0, 5.0, 51))
    truth = evolve(coarse, Grid((-4.2, -4.2), (4.2, 4.2), (168, 84))).final
    net = MLP((2,), width=32, depth=2, zero=True, key=KEY)
    found, seconds = _transported(Trained(net, optax.adam(1e-3), steps=5), problem, n, 400)
    where = f"swimmer, n = {n}, T = 5, against the grid"
    yield from _against_grid(where, problem, found, truth, seconds, n)
    p = truth.p.ravel()
    seen = p > 1e-12
    J = current(problem.process, truth).reshape(-1, 2)[seen]
    speed = float(np.sum(J[:, 1] ** 2 / p[seen]) * truth.grid.volume)
    x = found.value.x
    v = jax.vmap(lambda x: -0.1 * x[1] - 0.1 * found.value.score(0.0, x)[1])(x)
    here = np.asarray(v**2, float)
    drift = np.asarray(0.01 * x[:, 1] ** 2, float)
    yield Claim(
        f"{where}: E|velocity of the flow along v|^2, which the SDE does not know",
        f"{speed:.5f} (grid)",
        f"{here.mean():.5f} ± {here.std() / n**0.5:.1g}",
        f"the drift alone {drift.mean():.5f}",
        bool(abs(here.mean() - speed) < BOUND * here.std() / n**0.5 + 0.1 * speed),
    )
    rate, got = entropy_rate(problem.process, truth), found.info.entropy_rate
    mean = float(jnp.mean(got.mean[-50:]))
    yield Claim(
        f"{where}: entropy production at the end (mean of the last 50 steps)",
        f"{rate:.3f} (grid)",
        f"{mean:.3f} ± {float(got.stderr[-1]):.2g}",
        "",
        bool(abs(mean - rate) < BOUND * float(got.stderr[-1]) + 0.05),
    )
