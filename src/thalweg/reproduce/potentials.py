"""Stochastic-gradient MCMC (2212.07959): the bias of its steps, and credible intervals of a network potential.

Regression  y on two columns (body mass, blood pressure) of scikit-learn's diabetes data, 442 rows, all standardised;
            sigma = 1, a standard normal prior, batches of 32. Trace of the chains' covariance over the exact one
Potential   Cu13 under effective-medium theory (ASE) at 500 K: forces of one trajectory, in its first part to fit
            and, after a gap, in its last to test. Chains of pSGLD start from the deep ensemble (independent Adam
            fits), so that a single chain and several can be compared with it. Intervals are of 90 %
Dynamics    average radius of gyration, and shares of pair distances below five lengths; the truth is the same
            integrator on the calculator's own forces
Seeds       the trajectories, the weights, the batches
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..core import run
from ..sampling.potentials import (
    ForceLikelihood,
    RadialPotential,
    credible_interval,
    deep_ensemble,
    ensemble_interval,
    propagate,
)
from ..sampling.sgmcmc import SGHMC, SGLD, Constant, Polynomial, Posterior, RMSProp, stationary_covariance
from .claims import Claim, Reproduction, Stopwatch

STEPS = (1e-4, 4e-4, 1e-3)
BATCH = 32
LEVEL, KELVIN, FEMTOSECONDS, FRICTION = 0.9, 500.0, 5.0, 0.01
# A coverage within this of the level counts as the level.
NEAR = 0.05


def sgmcmc_potentials(short: bool = False) -> Reproduction:
    """Is the bias of SGLD what its Lyapunov equation says, and do intervals of a potential cover at their rate?"""
    clock = Stopwatch()
    claims = [*_regression(300 if short else 2000, STEPS[1:2] if short else STEPS), *_potential(short)]
    claims += [
        Claim("cold posteriors need less data", "abstract", "not run", "", None),
        Claim("the paper's water and alanine potentials", "abstract", "not run: no such data here", "", None),
    ]
    return clock.done("sgmcmc-potentials", claims)


# --- regression ---------------------------------------------------------------------------------------------


def _line(theta, row):
    return -0.5 * (row[1] - theta @ row[0]) ** 2


def _gaussian(theta):
    return -0.5 * jnp.sum(theta**2)


def _diabetes():
    from sklearn.datasets import load_diabetes

    X, y = (np.asarray(v) for v in load_diabetes(return_X_y=True))
    X = X[:, [2, 3]]
    return (X - X.mean(0)) / X.std(0), (y - y.mean()) / y.std()


def _regression(chains, sizes):
    X, y = _diabetes()
    n = len(y)
    A = X.T @ X + np.eye(2)
    mean = np.linalg.solve(A, X.T @ y)
    V = n**2 / BATCH * np.cov((X * (y - X @ mean)[:, None]).T, bias=True)
    M = X.T @ X / n

    def growth(C):
        return n**2 / BATCH * (np.einsum("ia,ib,ic,cd,id->ab", X, X, X, C, X) / n - M @ C @ M)

    exact = np.trace(np.linalg.inv(A))
    data = jnp.asarray(X, jnp.float32), jnp.asarray(y, jnp.float32)
    start = jnp.tile(jnp.asarray(mean, jnp.float32), (chains, 1))

    def measured(method, batch, steps):
        problem = Posterior(data, _line, _gaussian, start, batch)
        ends = np.asarray(run(method, problem, steps=steps, key=jax.random.key(0)).value.last, np.float64)
        square = ((ends - mean) ** 2).sum(1) / exact
        return square.mean(), square.std() / np.sqrt(chains)

    middle = Constant(STEPS[1])
    cases = [(f"SGLD, eps {eps:.0e}", SGLD(Constant(eps)), BATCH, V) for eps in sizes]
    cases += [(f"SGLD, full batch, eps {STEPS[1]:.0e}", SGLD(middle), None, 0 * V)]
    if len(sizes) > 1:
        cases += [(f"SGHMC, friction 0.3, eps {STEPS[1]:.0e}", SGHMC(middle, friction=0.3), BATCH, V)]
    for name, method, batch, noise in cases:
        found, stderr = measured(method, batch, 600)
        simple = np.trace(stationary_covariance(method, A, noise)) / exact
        whole = simple if batch is None else np.trace(stationary_covariance(method, A, noise, growth=growth)) / exact
        yield Claim(
            f"{name}: trace of the covariance over the exact one",
            f"{whole:.3f} (Lyapunov equation; {simple:.3f} with V at the mean)",
            f"{found:.3f} ± {stderr:.2g}",
            "1 without a bias",
            bool(abs(found - whole) < 4.5 * stderr),
        )
    largest = np.trace(stationary_covariance(SGLD(Constant(STEPS[-1])), A, V, growth=growth)) / exact
    steps = 3000 if len(sizes) > 1 else 1500
    found, stderr = measured(SGLD(Polynomial(STEPS[-1], 2e-5, steps, power=0.9)), BATCH, steps)
    yield Claim(
        f"steps that decay from {STEPS[-1]:.0e} to 2e-05 remove the bias",
        "1",
        f"{found:.3f} ± {stderr:.2g}",
        f"{largest:.3f} at the first step throughout",
        bool(abs(found - 1) < 0.1 * (largest - 1) + 2 * stderr),
    )


# --- potential ----------------------------------------------------------------------------------------------


class _Copper:
    """Cu13 with ASE's effective-medium theory: BAOAB on the host, in eV, Angstrom and ASE's unit of time."""

    def __init__(self):
        from ase import units
        from ase.calculators.emt import EMT
        from ase.cluster import Icosahedron
        from ase.optimize import BFGS

        self.atoms = Icosahedron("Cu", 2)
        self.atoms.calc = EMT()
        BFGS(self.atoms, logfile=None).run(fmax=0.01)
        self.atoms.positions -= self.atoms.positions.mean(0)
        self.x0 = self.atoms.get_positions()
        self.mass = float(self.atoms.get_masses()[0])
        self.kT, self.dt, self.friction = units.kB * KELVIN, FEMTOSECONDS * units.fs, FRICTION / units.fs

    def trajectory(self, steps, every, seed):
        """Positions and forces after every `every` steps."""
        rng, rows = np.random.default_rng(seed), []
        h, keep = self.dt, np.exp(-self.friction * self.dt)
        speed = np.sqrt(self.kT / self.mass)
        x, v = self.x0.copy(), speed * rng.normal(size=self.x0.shape)
        f = self.forces(x)
        for k in range(1, steps + 1):
            v = v + h / 2 * f / self.mass
            x = x + h / 2 * v
            v = keep * v + np.sqrt(1 - keep**2) * speed * rng.normal(size=v.shape)
            x = x + h / 2 * v
            f = self.forces(x)
            v = v + h / 2 * f / self.mass
            if k % every == 0:
                rows.append((x, f))
        return tuple(np.stack(part) for part in zip(*rows, strict=True))

    def forces(self, x):
        self.atoms.set_positions(x)
        return self.atoms.get_forces()


# The lengths below which pairs are counted, in Angstrom: from the first shell to the diameter.
LENGTHS = (2.5, 2.75, 3.5, 4.25, 5.0)


def _observable(x):
    """Radius of gyration in Angstrom, and smooth shares of the pair distances below LENGTHS."""
    spread = jnp.sqrt(jnp.mean(jnp.sum((x - x.mean(0)) ** 2, axis=1)))
    pairs = np.triu_indices(x.shape[0], 1)
    r = jnp.sqrt(jnp.sum((x[pairs[0]] - x[pairs[1]]) ** 2, axis=1))
    shares = jnp.mean(jax.nn.sigmoid((jnp.asarray(LENGTHS, x.dtype)[:, None] - r) / 0.05), axis=1)
    return jnp.concatenate([spread[None], shares])


def _potential(short):
    copper = _Copper()
    chains, fit_steps, burn_in, thin, draws = (3, 200, 100, 10, 20) if short else (8, 8000, 6000, 100, 60)
    x, f = copper.trajectory(160 if short else 2000, 4 if short else 20, seed=0)
    cut, gap = (3 * len(x)) // 5, max(len(x) // 20, 1)
    x, f = jnp.asarray(x, jnp.float32), jnp.asarray(f, jnp.float32)
    train, test = slice(0, cut), slice(cut + gap, None)
    model = RadialPotential.of(x[train], f[train], 8)
    likelihood = ForceLikelihood(model, 0.1 * float(jnp.std(f[train])))
    posterior = likelihood.posterior(x[train], f[train], chains=chains, width=16, batch=8, key=jax.random.key(0))
    adam = optax.adam(optax.cosine_decay_schedule(1e-2, fit_steps))
    fits = deep_ensemble(posterior, adam, steps=fit_steps, key=jax.random.key(1))
    warm = Posterior(posterior.data, posterior.log_likelihood, posterior.log_prior, fits, posterior.batch)
    schedule = Polynomial(1e-3, 1e-4, burn_in + thin * draws)
    sampler = SGLD(schedule, draws=draws, burn_in=burn_in, thin=thin, preconditioner=RMSProp())
    thetas = run(sampler, warm, steps=sampler.steps, key=jax.random.key(2)).value.theta

    forces = jax.jit(jax.vmap(lambda theta: jax.vmap(lambda x: model.forces(theta, x))(x[test])))
    drawn, fitted = jax.vmap(forces)(thetas), forces(fits)
    noise = jax.vmap(jax.vmap(likelihood.sigma))(thetas)[..., None, None, None]
    noisy = drawn + noise * jax.random.normal(jax.random.key(3), drawn.shape)
    yield _error(fitted, drawn, f[test])
    yield from _intervals("held-out forces", drawn, fitted, f[test], f"{f[test].size} components")
    yield _predictive(noisy, f[test])
    yield from _dynamics(copper, model, thetas, fits, short)


def _error(fitted, drawn, truth):
    rmse = lambda p: float(jnp.sqrt(jnp.mean((p - truth) ** 2)))  # noqa: E731
    return Claim(
        "held-out forces, RMSE in eV/A: mean of several chains near that of the deep ensemble",
        "similar",
        f"{rmse(drawn.mean((0, 1))):.4f}",
        f"deep ensemble {rmse(fitted.mean(0)):.4f}; zero forces {rmse(0.0):.4f}",
        bool(rmse(drawn.mean((0, 1))) < 1.25 * rmse(fitted.mean(0))),
    )


def _intervals(what, drawn, fitted, truth, size):
    """Coverage of the three kinds of interval, and whether R-hat let them pass."""
    several, single = (credible_interval(v, level=LEVEL, throw=False) for v in (drawn, drawn[:1]))
    # Means of the chains, with the interval of an ensemble: what compares with the fits, like with like.
    means, ensemble = (ensemble_interval(v, level=LEVEL) for v in (drawn.mean(1), fitted))
    kinds = {"s": several, "1": single, "m": means, "e": ensemble}
    covers = {k: float(v.coverage(truth)) for k, v in kinds.items()}
    blocked = [f"R-hat blocks {float(v.blocked.mean()):.0%}" for v in (several, single)]
    yield Claim(
        f"{what} ({size}): several chains cover more than one chain",
        "several are needed",
        f"{covers['s']:.2f} ({blocked[0]})",
        f"one chain {covers['1']:.2f} ({blocked[1]})",
        covers["s"] > covers["1"],
    )
    yield Claim(
        f"{what}: means of several chains, with the ensemble's kind of interval, cover like the deep ensemble",
        "similar",
        f"{covers['m']:.2f}",
        f"deep ensemble {covers['e']:.2f}",
        abs(covers["m"] - covers["e"]) < 2 * NEAR,
    )
    yield Claim(
        f"{what}: several chains cover at {LEVEL:.0%}",
        "systematic errors are not covered",
        f"{covers['s']:.2f}",
        f"deep ensemble {covers['e']:.2f}",
        abs(covers["s"] - LEVEL) < NEAR,
    )
    yield Claim(
        f"{what}: the chains agree (R-hat at most 1.1), so that their interval may be used",
        "",
        f"median R-hat {float(jnp.median(several.rhat)):.2f}",
        f"single chain, split: {float(jnp.median(single.rhat)):.2f}",
        not bool(several.blocked.any()),
    )


def _predictive(noisy, truth):
    cover = float(credible_interval(noisy, level=LEVEL, throw=False).coverage(truth))
    one = float(credible_interval(noisy[:1], level=LEVEL, throw=False).coverage(truth))
    return Claim(
        f"held-out forces: with sigma added, several chains cover at {LEVEL:.0%}",
        "",
        f"{cover:.2f}",
        f"one chain {one:.2f}",
        abs(cover - LEVEL) < NEAR,
    )


def _dynamics(copper, model, thetas, fits, short):
    """Molecular dynamics for draws of each chain, for the fits, and for the calculator itself."""
    steps, settle, runs, keep = (40, 20, 2, 4) if short else (1000, 300, 6, 10)
    x0 = jnp.tile(jnp.asarray(copper.x0, jnp.float32), (runs, 1, 1))
    chains, draws = jax.tree.leaves(thetas)[0].shape[:2]
    some = jax.tree.map(lambda v: v[:, :: draws // keep][:, :keep].reshape(-1, *v.shape[2:]), thetas)
    # Draws and fits in one call: one compilation.
    every = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), some, fits)
    found = propagate(
        model.energy,
        every,
        x0,
        _observable,
        dt=copper.dt,
        steps=steps,
        settle=settle,
        temperature=copper.kT,
        friction=copper.friction,
        mass=copper.mass,
        key=jax.random.key(5),
    )
    drawn, fitted = found[: chains * keep].reshape(chains, keep, -1), found[chains * keep :]
    averages = []
    for seed in range(runs):
        x, _ = copper.trajectory(settle + steps, 1, seed=100 + seed)
        averages.append(jax.vmap(_observable)(jnp.asarray(x[settle:], jnp.float32)).mean(0))
    truth = jnp.stack(averages)
    mean, stderr = truth.mean(0), truth.std(0, ddof=1) / np.sqrt(runs)
    size = f"{mean.size} averages, gyration {float(mean[0]):.4f} ± {float(stderr[0]):.1g} A by the calculator"
    yield from _intervals("dynamics", drawn, fitted, mean, size)
