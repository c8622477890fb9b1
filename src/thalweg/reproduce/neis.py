"""NEIS (2206.09908): two mixtures and a funnel, before and after training, against plain and annealed weights.

Setting    eg1: the plane, modes of weight 0.2 and 0.8 at (5, 0) and (0, -5), variance 0.1, base N(0, I), t- = 0;
           eg2: d = 10, four modes at distance 5, variance 0.1 twice and 0.5 eight times, t- = 0;
           eg3: the funnel of d = 10, sigma 3, cut off at |x| = 25, field (-beta, -alpha x_2, ...), t- = -1/2
Unit       one evaluation of log rho_1 at a point, with its gradient where the method needs one. An orbit is N + 1 of
           them without gradients, a chain of AIS-K counts as K + 1 with, so that equal numbers favour AIS
Budget     three times the training: NEIS pays its training and has two thirds left, AIS has everything. AIS is a linear
           path with one MALA step a rung; its step size is the best of five by effective sample size, free of charge
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammainc

from ..core import ess, run
from ..problems import Density, Mixture, Normal
from ..sampling.annealing import Annealing
from ..sampling.autonomous import Affine, FunnelField, Hastened, PlanarPoisson, TwoLayer, TwoLayerGradient
from ..sampling.evidence import evidence
from ..sampling.kernels import MALA
from ..sampling.movers import Invariant
from ..sampling.neis import NEIS, NEISProblem
from ..sampling.neis_training import train_field
from ..sampling.orbits import FiniteTime, InfiniteTime
from ..sampling.tempering import Ladder, Tempering
from .claims import Claim, Reproduction, Stopwatch

BATCH, RADIUS, SIGMA = 2000, 25.0, 3.0
TAUS = (0.025, 0.05, 0.1, 0.2, 0.4)


def neis_flows(short: bool = False) -> Reproduction:
    """Variance before and after training, the estimates at equal budgets, and a field without variance."""
    clock = Stopwatch()
    claims = []
    if not short:
        for name, make, seed in (("grad V", TwoLayerGradient, 0), ("generic b", TwoLayer, 2)):
            plan = dict(particles=200, steps=50, rate=0.3, decay=0.08, assisted=0.1, until=0.6)
            field = make.random(2, 20, scale=5.0, key=jax.random.key(seed))
            claims += _example(
                f"eg1, {name}, width 20", _mixture(eg1()), 0.0, field, FiniteTime(t_minus=0.0, steps=50), plan, seed
            )
        plan = dict(particles=800, steps=60, rate=0.5, decay=1 / 15, assisted=0.3, until=0.75)
        field = TwoLayerGradient.random(10, 30, scale=5.0, key=jax.random.key(1))
        claims += _example(
            "eg2, grad V, width 30", _mixture(eg2()), 0.0, field, FiniteTime(t_minus=0.0, steps=60), plan, 1
        )
        plan = dict(particles=1000, steps=100, rate=0.3, decay=0.01)
        problem, log_z = NEISProblem(Normal(jnp.zeros(10)), funnel()), float(np.log(funnel_ratio()))
        horizon = FiniteTime(t_minus=-0.5, steps=100)
        claims += _example("eg3, (beta, alpha)", problem, log_z, FunnelField(2.0, 2.0), horizon, plan, 3)
    claims.append(_faster(10_000 if short else 100_000))
    return clock.done("neis", [*claims, _no_variance(300 if short else 2000), _funnel_ratio(short)])


def eg1() -> Mixture:
    """Two narrow modes in the plane, outside the base."""
    return Mixture(np.array([0.2, 0.8]), np.array([[5.0, 0.0], [0.0, -5.0]]), np.array([0.1 * np.eye(2)] * 2))


def eg2() -> Mixture:
    """Four modes in ten dimensions."""
    means = np.zeros((4, 10))
    means[:, :2] = 5 * np.array([[0, 1], [-1, 0], [0, -1], [1, 0]])
    return Mixture(np.ones(4), means, np.array([np.diag([0.1] * 2 + [0.5] * 8)] * 4))


def funnel(d: int = 10) -> Density:
    """e^{-U_1} (2 pi)^{-d/2} within the ball, U_1 = x_1^2 / (2 sigma^2) + (d - 1) x_1 / 2 + e^{-x_1} |x_2:|^2 / 2."""

    def log_prob(x):
        inside = jnp.sum(x**2) < RADIUS**2
        x = jnp.where(inside, x, 0.0)
        u = 0.5 * (x[0] / SIGMA) ** 2 + 0.5 * (d - 1) * x[0] + 0.5 * jnp.exp(-x[0]) * jnp.sum(x[1:] ** 2)
        return jnp.where(inside, -u - 0.5 * d * np.log(2 * np.pi).astype(x.dtype), -jnp.inf)

    return Density(log_prob, (d,))


def funnel_ratio(d: int = 10) -> float:
    """Z_1 / Z_0 of the funnel in its ball, by quadrature over x_1 of a chi-squared probability."""
    x = np.linspace(-RADIUS, RADIUS, 200_001)[1:-1]
    inside = gammainc((d - 1) / 2, 0.5 * (RADIUS**2 - x**2) * np.exp(-x))
    return float(np.trapezoid(np.exp(-0.5 * (x / SIGMA) ** 2) * inside, x) / np.sqrt(2 * np.pi))


def vanilla_variance(mixture: Mixture) -> float:
    """Relative variance of rho_1 / rho_0 under rho_0 = N(0, I), in closed form."""
    w, m, covs = (np.asarray(a, np.float64) for a in (mixture.weights, mixture.means, mixture.covs))
    inverse, total = np.linalg.inv(covs), 0.0
    for i in range(len(w)):
        for j in range(len(w)):
            a, u = inverse[i] + inverse[j] - np.eye(m.shape[1]), inverse[i] @ m[i] + inverse[j] @ m[j]
            b = 0.5 * (u @ np.linalg.solve(a, u) - m[i] @ inverse[i] @ m[i] - m[j] @ inverse[j] @ m[j])
            volume = np.linalg.det(a) * np.linalg.det(covs[i]) * np.linalg.det(covs[j])
            total += w[i] * w[j] * np.exp(b) / np.sqrt(volume)
    return float(total - 1)


def _mixture(target):
    return NEISProblem(Normal(jnp.zeros(target.event)), target)


def ais(problem: NEISProblem, rungs: int, tau: float, chains: int, *, key) -> jnp.ndarray:
    """log weights of annealed importance sampling: a linear path, one MALA step of size `tau` a rung; (chains,)."""
    mover = Invariant(MALA(tau), tuning=0.0)
    method = Annealing(mover, Ladder.power(rungs), chains, resampler=None)
    # A pilot with too large a step is refused by its status; here its weights speak.
    done = run(method, Tempering(problem.base, problem.target), steps=rungs, key=key, throw=False)
    return done.value.cloud.log_w


def _moments(log_a, log_z):
    """Estimate over truth, its standard error, and the relative variance of one draw."""
    a = np.exp(np.asarray(log_a, np.float64).reshape(-1) - log_z)
    return a.mean(), a.std(ddof=1) / np.sqrt(a.size), a.var(ddof=1) / a.mean() ** 2


def _example(name, problem, log_z, field, horizon, plan, seed):
    """Train; then the rows on the variance and on the estimates at equal budgets."""
    key = jax.random.key(100 + seed)
    vanilla = vanilla_variance(problem.target) if isinstance(problem.target, Mixture) else None
    trained = train_field(problem, field, horizon, **plan, key=key)
    budget = 3 * trained.gradients
    left = (budget - trained.gradients) // (horizon.steps + 1)

    def estimates(b, orbits, salt):
        method = NEIS(b, horizon, BATCH, checked=100)
        result = run(method, problem, steps=-(-orbits // BATCH), key=jax.random.fold_in(key, salt), throw=False)
        khat = float(evidence(result.info.log_a.reshape(-1)).khat)
        return _moments(result.info.log_a, log_z), result.value, khat

    before, _, wild = estimates(field, left, 1)
    after, value, khat = estimates(trained.field, left, 2)
    if vanilla is None:
        d = problem.base.event[0]
        still = Affine(jnp.zeros((d, d)), jnp.zeros(d))
        log_w = run(
            NEIS(still, FiniteTime(t_minus=0.0, steps=2), BATCH, 0), problem, steps=50, key=key, throw=False
        ).info.log_a
        plain = _moments(log_w, log_z)[2]
        told = f"vanilla at least {plain:.3g} (sample)"
    else:
        plain, told = vanilla, f"vanilla {vanilla:.4g} (exact)"
    fall = np.log10(plain / after[2])
    shown = f"{before[2]:.3g} untrained, {after[2]:.3g} trained: {fall:.1f} orders below vanilla"
    shown += f"; halving the step moves Z by {float(value.grid_error):.0e}"
    rows = [Claim(f"{name}: relative variance", "up to 6 orders lower", shown, told, bool(fall > 3 or vanilla is None))]
    if vanilla is None:
        rows[0] = Claim(f"{name}: relative variance", "lower", shown, told, bool(after[2] < before[2] < plain))
        near = abs(trained.field.beta - 4.6) < 0.6 and abs(trained.field.alpha - 4.0) < 0.6
        found = f"beta {float(trained.field.beta):.2f}, alpha {float(trained.field.alpha):.2f}"
        rows.append(Claim(f"{name}: learned parameters", "4.6, 4.0 (plot)", found, "start 2, 2", bool(near)))
    unbiased = abs(after[0] - 1) < 4.5 * after[1]
    z = (after[0] - 1) / after[1]
    shown = f"Z / exact {after[0]:.4f} ± {after[1]:.4f} (z {z:+.1f}), k-hat {khat:.2f}"
    shown += f", largest orbit {float(value.top_share):.0e}"
    z0 = (before[0] - 1) / before[1]
    told = f"untrained {before[0]:.3g} ± {before[1]:.2g} (z {z0:+.1f}), k-hat {wild:.2f}"
    rows.append(Claim(f"{name}: unbiased by its own error", "unbiased for any b", shown, told, bool(unbiased)))
    return [*rows, _against(name, problem, log_z, budget, trained, (after, left), key)]


def _against(name, problem, log_z, budget, trained, ours, key):
    """Root mean squared error, from the true one and the reported one, of NEIS and of two AIS at one budget."""
    (mean, stderr, _), left = ours
    error = max(abs(mean - 1), stderr)
    shown = f"{mean:.4f} ± {stderr:.4f} from {left} orbits after {trained.gradients:.2g} of training"
    others, errors = [], []
    for rungs in (10, 100):
        pilots = [ais(problem, rungs, tau, BATCH, key=jax.random.fold_in(key, 7)) for tau in TAUS]
        tau = TAUS[int(np.argmax([float(ess(w)) for w in pilots]))]
        chains = budget // (rungs + 1)
        m, s, _ = _moments(ais(problem, rungs, tau, chains, key=jax.random.fold_in(key, 9)), log_z)
        others.append(f"AIS-{rungs} {m:.3f} ± {s:.3f} (z {(m - 1) / s:+.1f}, tau {tau})")
        errors.append(max(abs(m - 1), s))
    holds = bool(error < min(errors))
    what = f"{name}: Z / exact at {budget:.2g} evaluations"
    return Claim(what, "NEIS closer than AIS-10 and AIS-100", shown, "; ".join(others), holds)


def _faster(orbits):
    """The funnel by a field that runs along it through all of it, beside the one that the paper learns."""
    problem, log_z = NEISProblem(Normal(jnp.zeros(10)), funnel()), float(np.log(funnel_ratio()))
    told = []
    for beta, alpha in ((16.0, 8.0), (4.6, 4.0)):
        method = NEIS(FunnelField(beta, alpha), FiniteTime(t_minus=-0.5, steps=100), BATCH, 0)
        log_a = run(method, problem, steps=orbits // BATCH, key=jax.random.key(4), throw=False).info.log_a
        mean, stderr, relative = _moments(log_a, log_z)
        told.append((mean, stderr, f"Z / exact {mean:.4f} ± {stderr:.4f}, relative variance {relative:.2g}"))
    (mean, stderr, here), (_, _, learned) = told
    what = "eg3: (16, 8) sees the whole funnel, which the learned (4.6, 4) does not"
    return Claim(what, "–", here, learned, bool(abs(mean - 1) < 4.5 * stderr))


def _no_variance(orbits):
    """div b = rho_1 - rho_0 between two normals of the plane, along whole orbits."""
    base = Normal(jnp.asarray([0.3, -0.2]), 1.0)
    target = Normal(jnp.asarray([2.0, 1.0]), 0.6)
    problem = NEISProblem(base, target)
    field = Hastened(PlanarPoisson(base.mean, 1.0, target.mean, 0.6), 0.1)
    result = run(
        NEIS(field, InfiniteTime(reach=16.0, steps=400), orbits, 50),
        problem,
        steps=1,
        key=jax.random.key(0),
        throw=False,
    )
    a = np.exp(np.asarray(result.info.log_a, np.float64).reshape(-1))
    x = base.sample(jax.random.key(1), 100_000)
    plain = _moments(jax.vmap(target.log_prob)(x) - jax.vmap(base.log_prob)(x), 0.0)[2]
    # A few orbits start on the line that goes by way of infinity, and no truncation is long enough for them.
    whole = np.abs(a - 1) < 0.01
    shown = f"A - 1 = {a[whole].mean() - 1:.0e} ± {a[whole].std():.0e}"
    shown += f" on {whole.sum()} of {a.size} orbits; the others go by way of infinity and are cut off"
    claim = "a field with div b = rho_1 - rho_0 leaves no variance"
    return Claim(claim, "zero", shown, f"vanilla: A = 1 ± {np.sqrt(plain):.2g}", bool(whole.mean() > 0.995))


def _funnel_ratio(short):
    """The constant that the funnel is compared with, by quadrature and by counting exact draws in the ball."""
    n, rng = 100_000 if short else 1_000_000, np.random.default_rng(0)
    first = SIGMA * rng.standard_normal(n)
    square = first**2 + np.exp(first) * rng.chisquare(9, n)
    share = np.mean(square < RADIUS**2)
    stderr = SIGMA * np.sqrt(share * (1 - share) / n)
    exact = funnel_ratio()
    holds = bool(abs(SIGMA * share - exact) < 4.5 * stderr)
    shown = f"{exact:.4f} by quadrature"
    return Claim(
        "Z_1 / Z_0 of the funnel in its ball", "sigma times share inside", shown, f"{SIGMA * share:.4f}", holds
    )
