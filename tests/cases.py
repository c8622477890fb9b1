"""One row for every method: how it is built, and a problem that is neither centred, square, uniform nor isotropic.

`tests/test_contract.py` puts every row through the same examination.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax

from tests.case import Case
from tests.pde.cases import CASES as PDE
from tests.rare.cases import CASES as RARE
from thalweg.core import Denoiser, Fit, Velocity
from thalweg.flows import (
    DDIM,
    ConstantNoise,
    DPMSolver2,
    DPMSolver2M,
    DPMSolver3,
    Fields,
    FlowODE,
    FlowSDE,
    Gaussian,
    Independent,
    Linear,
    Matching,
    OneSided,
    Pairs,
    PredictorCorrector,
    ReverseDiffusion,
    Units,
    score_from_denoiser,
    velocity_from_denoiser,
)
from thalweg.nets import MLP
from thalweg.ot import (
    Barycentre,
    GromovProblem,
    GromovWasserstein,
    Histograms,
    Sinkhorn,
    SinkhornNewton,
    SymmetricSinkhorn,
    Transport,
    squared_distances,
)
from thalweg.problems import Normal, two_modes
from thalweg.processes import (
    BAOAB,
    ODE,
    OU,
    RK4,
    SRA1,
    Euler,
    EulerMaruyama,
    ExactTransition,
    GeometricBrownian,
    HeunODE,
    InterpolantHeun,
    Midpoint,
    Milstein,
    Observed,
    Recorded,
    Simulate,
    StochasticHeun,
    UnderdampedLangevin,
)
from thalweg.sampling import (
    HMC,
    NEIS,
    SGHMC,
    SGLD,
    Affine,
    AllMove,
    Annealing,
    Chains,
    Constant,
    Contrastive,
    EnergyData,
    EnergyTraining,
    FiniteTime,
    HistoryDriven,
    Invariant,
    JarzynskiWalkers,
    Ladder,
    NEISProblem,
    Polynomial,
    Posterior,
    RandomWalk,
    Replicates,
    RMSProp,
    SelfRepellent,
    SomeMove,
    Starts,
    Tempering,
    WarmUp,
    metropolis_walk,
)

X = jnp.arange(6.0).reshape(3, 2)
TS = jnp.linspace(0.0, 1.0, 6)
nan_start = lambda problem: eqx.tree_at(lambda p: p.x0, problem, problem.x0.at[(0,) * problem.x0.ndim].set(jnp.nan))  # noqa: E731
nan_cost = lambda problem: eqx.tree_at(lambda p: p.geometry.costs, problem, problem.geometry.costs * jnp.nan)  # noqa: E731


def decay(t, x):
    return jnp.sin(t) - x


def quartic(x):
    return jnp.sum(x**4)


def square(t, x):
    return x[0] ** 2


def ode():
    return Simulate(ODE(decay), X, TS)


def ou():
    return Simulate(OU(1.5, 0.3, 0.7), X, TS)


def geometric():
    return Simulate(GeometricBrownian(0.3, 0.5), X + 1, TS)


def phase():
    return Simulate(UnderdampedLangevin(quartic, 0.7), jnp.arange(12.0).reshape(2, 2, 3) / 12, TS)


def transport():
    weights = jnp.asarray([0.1, 0.4, 0.2, 0.3])
    return Transport(
        squared_distances(X + 0.3, jnp.asarray([[1.0, 2], [0, 1], [4, 2], [1, 5]])),
        jnp.asarray([0.5, 0.2, 0.3]),
        weights,
    )


def itself():
    return Transport(squared_distances(X, X), *2 * [jnp.asarray([0.5, 0.2, 0.3])])


def histograms():
    return Histograms(squared_distances(X, X), jnp.asarray([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1]]), jnp.asarray([0.3, 0.7]))


def spaces():
    y = jnp.asarray([[1.0, 2], [0, 1], [4, 2], [1, 5]])
    weights = jnp.asarray([0.5, 0.2, 0.3]), jnp.asarray([0.1, 0.4, 0.2, 0.3])
    return GromovProblem(squared_distances(X, X) / 32, squared_distances(y, y) / 18, *weights)


def linear_denoiser(t, x, c=None):
    return 0.3 * x + jnp.asarray([0.1, -0.2], x.dtype)


def fields():
    path = OneSided(Linear())
    denoiser = Denoiser(linear_denoiser)
    derived = velocity_from_denoiser(denoiser, path, Independent()), score_from_denoiser(denoiser, path, Independent())
    return {"velocity": derived[0], "score": derived[1], "denoiser": denoiser, "path": path}


def flow():
    return Simulate(FlowODE(**fields()), X / 3, jnp.linspace(0.1, 0.8, 6))


def noisy_flow():
    return Simulate(FlowSDE(**fields(), noise=ConstantNoise(0.1)), X / 3, jnp.linspace(0.1, 0.8, 6))


def pairs():
    data = np.asarray([[1.0, 2], [3, 1], [2, 5], [0, 4], [2, 2]], np.float32)
    return Pairs(Gaussian((2,)), jnp.asarray(data), None, Units.of(data), Independent(), batch=8)


def fit():
    import jax

    net = MLP((2,), width=8, depth=2, key=jax.random.key(0))
    return Fit(Matching(OneSided(Linear())), Fields(velocity=Velocity(net)), optax.adam(1e-2), ema=0.9, clip=1.0)


def walk():
    import networkx as nx

    return metropolis_walk(nx.Graph([(0, 1), (1, 2), (0, 2), (2, 3)]), [0.1, 0.2, 0.3, 0.4])


def regression():
    def log_likelihood(theta, row):
        return -0.5 * (row[1] - theta["slope"] @ row[0] - theta["offset"]) ** 2

    def log_prior(theta):
        return -0.5 * jnp.sum(theta["slope"] ** 2) - jnp.abs(theta["offset"])

    x = jnp.asarray([[1.0, 2], [3, 1], [2, 5], [0, 4], [2, 2]])
    start = {"slope": X, "offset": jnp.asarray([0.5, -1.0, 2.0])}
    return Posterior((x, jnp.asarray([1.0, 0, 2, -1, 3])), log_likelihood, log_prior, start, batch=2)


def nan_target(problem):
    return eqx.tree_at(lambda p: p.target, problem, problem.target * jnp.nan)


def nan_data(problem):
    return eqx.tree_at(lambda p: p.data, problem, (problem.data[0] * jnp.nan, problem.data[1]))


def tempering():
    return Tempering(Normal(jnp.asarray([0.5, -1.0]), 2.0), two_modes())


def starts():
    return Starts(two_modes(), X / 3)


def bridge():
    return NEISProblem(Normal(jnp.asarray([0.3, -0.2]), jnp.asarray([1.6, 1.1])), two_modes())


def first_coordinate(x):
    return x[0]


def neis():
    field = Affine(np.asarray([[0.3, 0.1], [-0.4, 0.2]]), np.asarray([0.1, -0.2]))
    return NEIS(field, FiniteTime(-0.5, 4), 64, 4, first_coordinate)


def nan_means(problem):
    return eqx.tree_at(lambda p: p.target.means, problem, problem.target.means * jnp.nan)


class Bowl(eqx.Module):
    """An energy with its own centre and width."""

    centre: object
    log_width: object

    def __call__(self, x):
        return 0.5 * jnp.sum(((x - self.centre) * jnp.exp(-self.log_width)) ** 2)


def energies():
    return EnergyData(X + jnp.asarray([0.3, -0.2]), Normal(jnp.asarray([0.5, 1.0]), jnp.asarray([2.0, 1.5])), batch=2)


def bowl(moves, negative, referees=0):
    start = Bowl(jnp.asarray([0.5, 1.0]), jnp.log(jnp.asarray([2.0, 1.5])))
    return EnergyTraining(start, optax.adam(0.02), moves, negative, walkers=12, referees=referees)


def nan_rows(problem):
    return eqx.tree_at(lambda p: p.data, problem, problem.data * jnp.nan)


CASES = [
    *(Case(m.__name__, m, ode, nan_start) for m in (Euler, Midpoint, HeunODE, RK4)),
    *(
        Case(m.__name__, m, ou, nan_start)
        for m in (EulerMaruyama, StochasticHeun, SRA1, InterpolantHeun, ExactTransition)
    ),
    Case("Milstein", Milstein, geometric, nan_start),
    Case("BAOAB", BAOAB, phase, nan_start),
    Case("DDIM", DDIM, flow, nan_start),
    Case("DPMSolver2", DPMSolver2, flow, nan_start),
    Case("DPMSolver3", DPMSolver3, flow, nan_start),
    Case("DPMSolver2M", DPMSolver2M, flow, nan_start),
    Case("ReverseDiffusion", ReverseDiffusion, flow, nan_start),
    Case("PredictorCorrector", PredictorCorrector, noisy_flow, nan_start),
    Case("Recorded", lambda: Recorded(EulerMaruyama(), (1, 2)), ou, nan_start),
    Case("Observed", lambda: Observed(EulerMaruyama(), square), ou, nan_start),
    Case("Sinkhorn", lambda: Sinkhorn(0.5, 1e-9), transport, nan_cost),
    Case("SinkhornNewton", lambda: SinkhornNewton(0.5, 1e-9, entries=2, sweeps=2), transport, nan_cost, grad=False),
    Case(
        "GromovWasserstein",
        lambda: GromovWasserstein(0.05, noise=0.1),
        spaces,
        lambda p: eqx.tree_at(lambda q: q.C, p, p.C * jnp.nan),
        grad=False,
    ),
    Case("SymmetricSinkhorn", lambda: SymmetricSinkhorn(0.5, 1e-9), itself, nan_cost),
    Case(
        "Barycentre", lambda: Barycentre(0.5, 1e-9), histograms, lambda p: eqx.tree_at(lambda q: q.a, p, p.a * jnp.nan)
    ),
    Case("SelfRepellent", lambda: SelfRepellent(2.0, walkers=3), walk, nan_target, grad=False),
    Case("SelfRepellentForgetting", lambda: SelfRepellent(2.0, walkers=3, decay=0.7), walk, nan_target, grad=False),
    Case("HistoryDriven", lambda: HistoryDriven(2.0, walkers=3), walk, nan_target, grad=False),
    Case("SGLD", lambda: SGLD(Polynomial(1e-2, 1e-3, 5), draws=2, thin=2), regression, nan_data),
    Case("pSGLD", lambda: SGLD(Constant(1e-2), preconditioner=RMSProp()), regression, nan_data),
    Case("SGHMC", lambda: SGHMC(Constant(1e-2), friction=0.3), regression, nan_data),
    Case("Annealing", lambda: Annealing(Invariant(HMC(0.3, leaps=2)), Ladder.power(8), 60), tempering, nan_means),
    Case("Chains", lambda: Chains(HMC(0.3, leaps=2), thin=2), starts, nan_start),
    Case("WarmUp", lambda: WarmUp(HMC(0.3, leaps=2), 20), starts, nan_start, grad=False),
    Case("NEIS", neis, bridge, nan_means),
    Case(
        "Replicates",
        # The inner method has a row of its own; here a light one will do.
        lambda: Replicates(Annealing(Invariant(RandomWalk(0.5), tuning=0.0), Ladder.power(6), 60, None), 2),
        tempering,
        nan_means,
        grad=False,
    ),
    Case(
        "EnergyTraining", lambda: bowl(AllMove(0.1), JarzynskiWalkers(threshold=0.9), 6), energies, nan_rows, grad=False
    ),
    Case(
        "EnergyTrainingSome",
        lambda: bowl(SomeMove(0.1, batch=5, moves=2), JarzynskiWalkers()),
        energies,
        nan_rows,
        grad=False,
    ),
    Case("ContrastiveEnergy", lambda: bowl(AllMove(0.1), Contrastive(2)), energies, nan_rows, grad=False),
    Case("Fit", fit, pairs, lambda p: eqx.tree_at(lambda q: q.target, p, p.target * jnp.nan), grad=False),
    *PDE,
    *RARE,
]
