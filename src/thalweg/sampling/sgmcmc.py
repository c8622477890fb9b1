"""Posteriors from mini-batches: stochastic-gradient Langevin and Hamiltonian chains, and the bias of their steps.

Answers    draws of the parameters given more data than one wants to look at in each step; how wrong is their spread?
Equations  U~(theta) = -(N/B) sum_{i in batch} log p(row_i | theta) - log p(theta),   g = grad U~
           SGLD    theta <- theta - (eps/2) G g + sqrt(eps T G) xi,   G = 1, or with RMSProp (pSGLD, 1512.07666)
                   V <- a V + (1 - a) g^2,  G = 1/(kappa + sqrt V)
           SGHMC   v <- (1 - c) v - (eps/2) g + sqrt(c eps T) xi,   theta <- theta + v;   c = 1 is SGLD
           eps_k = first (1 + k/b)^-power, with b such that eps_steps = last
           quadratic U: C = R C R^T + eps T I + (eps^2/4) V(C),   R = I - (eps/2) A,   V = (N^2/B) Cov_i(grad_i)
Symbols    eps -> schedule, T -> temperature (below 1: a cold posterior), c -> friction; A -> curvature, V -> noise
Cost       B rows a step and chain; memory for the draws that are kept
Fails      eps > 4/(largest curvature) diverges: nonfinite. At a fixed eps the spread is too wide by what
           `stationary_covariance` says, mostly by the noise of the mini-batches: the remedies are a step that decays
           and larger batches. With RMSProp the term Gamma for the change of G is left out, as is usual, and G knows the
           gradient that it is multiplied with: the law is not exactly the posterior even for small steps
Departure  half steps: eps here is twice that of codes that move by eps g. Batches are drawn with replacement, and
           V is scaled by N/B like g. Draws are kept every `thin` steps rather than at random ones
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from ..core import AbstractInfo, AbstractMethod, InputError, Key, Paper, Status
from ..core.checks import all_known, at_least_zero, positive, show

papers = (
    Paper(
        "psgld",
        "Preconditioned Stochastic Gradient Langevin Dynamics for Deep Neural Networks",
        "1512.07666",
        2015,
        "RMSprop preconditioner without Gamma",
    ),
)


class Posterior(eqx.Module):
    """Data, likelihood and prior.

    Fields:
        data: a pytree whose leaves have N rows.
        log_likelihood: (theta, row) -> log p(row | theta) of ONE row.
        log_prior: theta -> log p(theta), up to a constant.
        start: where the chains begin: theta, a pytree of floating arrays, each with a leading axis of `n` chains.
        batch: rows a step, drawn with replacement; None takes all rows.

    Raises:
        InputError: for leaves of different lengths, a start without chains, or an impossible batch.
    """

    data: PyTree
    log_likelihood: Callable
    log_prior: Callable
    start: PyTree
    batch: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        _rows("data", self.data)
        _rows("start", self.start)
        wrong = [x for x in jax.tree.leaves(self.start) if not eqx.is_inexact_array(x)]
        if wrong:
            raise InputError(
                f"start has a leaf {wrong[0]!r:.40}; expected floating arrays with a leading axis of chains"
            )
        if self.batch is not None and (isinstance(self.batch, bool) or not 1 <= self.batch <= self.size):
            raise InputError(f"batch is {self.batch}; expected 1 to {self.size}, the rows of the data, or None for all")

    @property
    def size(self) -> int:
        """N, the number of rows."""
        return _rows("data", self.data)

    @property
    def chains(self) -> int:
        """How many chains the start holds."""
        return _rows("start", self.start)

    def potential(self, theta: PyTree, key: Key | None = None) -> Float[Array, ""]:
        """U at one theta; with a key, its estimate from one mini-batch."""
        rows, scale = self.data, 1.0
        if key is not None and self.batch is not None:
            index = jax.random.randint(key, (self.batch,), 0, self.size)
            rows, scale = jax.tree.map(lambda x: x[index], self.data), self.size / self.batch
        likelihood = jax.vmap(lambda row: self.log_likelihood(theta, row))(rows)
        return -scale * jnp.sum(likelihood) - self.log_prior(theta)


class AbstractStepSize(eqx.Module):
    """The step size in the course of a run."""

    @abc.abstractmethod
    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """eps of this step."""


class Constant(AbstractStepSize):
    """The same eps throughout, more than 0."""

    size: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        _positive("Constant", "size", self.size)

    def __call__(self, step):
        """eps."""
        return self.size


class Polynomial(AbstractStepSize):
    """From `first` to `last` in `steps` steps, and on at the same rate.

    Fields:
        first, last: eps, with first > last > 0.
        steps: where `last` is reached.
        power: of the decay, in (0, 1]; its sum must diverge for the chain to forget its start.
    """

    first: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    last: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    steps: int = eqx.field(static=True)
    power: float = eqx.field(static=True, default=0.33)

    def __check_init__(self):
        _positive("Polynomial", "first", self.first)
        _positive("Polynomial", "last", self.last)
        if all_known((self.first, self.last)) and self.first <= self.last:
            raise InputError(f"Polynomial(first={self.first}, last={self.last}): expected first > last; or Constant")
        if self.steps < 1 or not 0 < self.power <= 1:
            raise InputError(
                f"Polynomial(steps={self.steps}, power={self.power}): expected steps >= 1, power in (0, 1]"
            )

    def __call__(self, step):
        """first (1 + k/b)^-power."""
        growth = (self.first / self.last) ** (1 / self.power) - 1
        return self.first * (1 + growth * step / self.steps) ** -self.power


class RMSProp(eqx.Module):
    """The preconditioner of pSGLD.

    Fields:
        decay: a in [0, 1), of the running mean square of the gradient.
        kappa: more than 0; keeps G finite.
    """

    decay: float = eqx.field(static=True, default=0.9)
    kappa: float = eqx.field(static=True, default=1e-5)

    def __check_init__(self):
        if not 0 <= self.decay < 1 or not self.kappa > 0:
            raise InputError(f"RMSProp(decay={self.decay}, kappa={self.kappa}): expected a in [0, 1), kappa above 0")


class ChainState(eqx.Module):
    """Flat parameters, what moves them (velocity, or V of RMSProp, or nothing), the draws and a spare row, the step."""

    theta: Float[Array, "n p"]
    memory: Float[Array, "n p"] | None
    rows: Float[Array, "spare n p"]
    step: Int[Array, ""]


class ChainInfo(AbstractInfo):
    """For each chain the estimate of U and the norm of its gradient before the step; eps."""

    potential: Float[Array, " n"]
    grad_norm: Float[Array, " n"]
    step_size: Float[Array, ""]
    status: Any


class Draws(eqx.Module):
    """Draws of theta, each leaf (chains, draws, ...), NaN where the run has not been yet; and where the chains are."""

    theta: PyTree
    last: PyTree


class AbstractStochasticGradient(AbstractMethod[Posterior, ChainState, ChainInfo, Draws]):
    """Chains that see mini-batches; `n` of them in parallel, each with its own batches and noise.

    Fields:
        schedule: eps of each step.
        temperature: T, at least 0; 1 is the posterior, 0 is stochastic gradient descent.
        draws: how many to keep.
        burn_in: steps before the first is kept.
        thin: steps from one to the next.
    """

    schedule: AbstractStepSize
    temperature: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)
    draws: int = eqx.field(static=True, default=1)
    burn_in: int = eqx.field(static=True, default=0)
    thin: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        name = type(self).__name__
        if not isinstance(self.schedule, AbstractStepSize):
            raise InputError(f"{name}(schedule={self.schedule!r}): expected a schedule such as Constant(1e-4)")
        at_least_zero(name, "temperature", self.temperature)
        if self.draws < 1 or self.burn_in < 0 or self.thin < 1:
            raise InputError(
                f"{name}(draws={self.draws}, burn_in={self.burn_in}, thin={self.thin}): expected at least 1, 0 and 1"
            )

    @property
    def steps(self) -> int:
        """How many steps it takes to fill the draws."""
        return self.burn_in + self.thin * self.draws

    @abc.abstractmethod
    def remember(self, theta: Float[Array, "n p"]) -> Float[Array, "n p"] | None:
        """What moves the parameters, at the start."""

    @abc.abstractmethod
    def move(self, theta, memory, g, noise, eps) -> tuple[Float[Array, "n p"], Float[Array, "n p"] | None]:
        """New parameters and memory, from the gradient and standard normal noise."""

    @abc.abstractmethod
    def recursion(self, curvature: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """R, K, Q of z <- R z + K (noise of the gradient) + normal of covariance Q; theta first in z; quadratic U."""

    def init(self, problem, *, key):
        """The problem's start."""
        theta, _ = _flat(problem.start)
        rows = jnp.full((self.draws + 1, *theta.shape), jnp.nan, theta.dtype)
        return ChainState(theta, self.remember(theta), rows, jnp.asarray(0, jnp.int32))

    def step(self, problem, state, *, key):
        """A mini-batch, a gradient, and a move for each chain."""
        _, unravel = _flat(problem.start)
        batch_key, noise_key = jax.random.split(key)
        keys = jax.random.split(batch_key, len(state.theta))
        potential, g = jax.vmap(jax.value_and_grad(lambda t, k: problem.potential(unravel(t), k)))(state.theta, keys)
        dtype = state.theta.dtype
        eps = self.schedule(state.step).astype(dtype)
        noise = jax.random.normal(noise_key, state.theta.shape, dtype)
        theta, memory = self.move(state.theta, state.memory, g, noise, eps)
        taken = state.step + 1 - self.burn_in
        due = (taken > 0) & (taken % self.thin == 0) & (taken // self.thin <= self.draws)
        # Writing always, to the spare row if need be, is an update in place.
        row = jnp.where(due, taken // self.thin - 1, self.draws)
        rows = jax.lax.dynamic_update_index_in_dim(state.rows, theta, row, 0)
        norm = jnp.sqrt(jnp.sum(g**2, axis=1))
        info = ChainInfo(potential=potential, grad_norm=norm, step_size=eps, status=Status.running)
        return ChainState(theta, memory, rows, state.step + 1), info

    def value(self, problem, state):
        """The draws."""
        _, unravel = _flat(problem.start)
        draws = jnp.swapaxes(state.rows[:-1], 0, 1)
        return Draws(jax.vmap(jax.vmap(unravel))(draws), jax.vmap(unravel)(state.theta))


class SGLD(AbstractStochasticGradient):
    """Stochastic-gradient Langevin dynamics; `preconditioner=RMSProp()` makes it pSGLD."""

    paper: ClassVar[Paper] = Paper(
        "sgmcmc-potentials",
        "Scalable Bayesian Uncertainty Quantification for Neural Network Potentials: Promise and Pitfalls",
        "2212.07959",
        2022,
        "SGLD and pSGLD with polynomial steps",
        "reproduced",
    )
    preconditioner: RMSProp | None = None

    def remember(self, theta):
        """V of RMSProp."""
        return None if self.preconditioner is None else jnp.zeros_like(theta)

    def move(self, theta, memory, g, noise, eps):
        """A half step down and noise."""
        spread = eps * self.temperature.astype(theta.dtype)
        if self.preconditioner is None or memory is None:
            return theta - eps / 2 * g + jnp.sqrt(spread) * noise, memory
        a = self.preconditioner.decay
        memory = a * memory + (1 - a) * g**2
        # At a gradient of exactly 0 the root has no derivative; its value there is 0.
        root = jnp.where(memory > 0, jnp.sqrt(jnp.where(memory > 0, memory, 1.0)), 0.0 * memory)
        G = 1 / (self.preconditioner.kappa + root)
        return theta - eps / 2 * G * g + jnp.sqrt(spread * G) * noise, memory

    def recursion(self, curvature, eps):
        """R = I - (eps/2) A."""
        if self.preconditioner is not None:
            raise InputError("SGLD with RMSProp is not linear in theta: its stationary covariance has no closed form")
        one = np.eye(len(curvature))
        return one - eps / 2 * curvature, -eps / 2 * one, eps * float(self.temperature) * one


class SGHMC(AbstractStochasticGradient):
    """Stochastic-gradient Hamiltonian Monte Carlo: SGLD with a velocity.

    Fields:
        friction: c in (0, 1], the share of the velocity that is lost a step; 1 is SGLD.
    """

    paper: ClassVar[Paper] = Paper("sghmc", "Stochastic Gradient Hamiltonian Monte Carlo", "1402.4102", 2014, "(15)")
    friction: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.1)

    def __check_init__(self):
        if all_known(self.friction) and not 0 < float(self.friction) <= 1:
            raise InputError(f"SGHMC(friction={self.friction}): expected a share in (0, 1]; 1 is SGLD")

    def remember(self, theta):
        """No velocity."""
        return jnp.zeros_like(theta)

    def move(self, theta, memory, g, noise, eps):
        """The velocity, then the parameters."""
        c = self.friction.astype(theta.dtype)
        v = (1 - c) * memory - eps / 2 * g + jnp.sqrt(c * eps * self.temperature.astype(theta.dtype)) * noise
        return theta + v, v

    def recursion(self, curvature, eps):
        """The same, for z = (theta, v)."""
        c, one = float(self.friction), np.eye(len(curvature))
        pull, both = -eps / 2 * curvature, np.ones((2, 2))
        R = np.block([[one + pull, (1 - c) * one], [pull, (1 - c) * one]])
        return R, -eps / 2 * np.vstack([one, one]), np.kron(both, c * eps * float(self.temperature) * one)


def stationary_covariance(
    method: AbstractStochasticGradient, curvature, noise, *, growth: Callable | None = None
) -> np.ndarray:
    """The covariance that a chain of fixed steps settles at, for a quadratic U: at T = 1 it should be A^-1.

    Args:
        method: with a `Constant` schedule.
        curvature: A, (p, p), symmetric positive definite.
        noise: V, (p, p), covariance of the gradient's estimate at the mean; zeros for full batches.
        growth: C -> what V gains when theta has the covariance C; linear. None takes V as constant.

    Raises:
        InputError: for a schedule that is not constant, or a step at which the chain diverges.
    """
    if not isinstance(method.schedule, Constant):
        raise InputError(f"stationary_covariance got {type(method.schedule).__name__}; expected a Constant schedule")
    A, V = np.asarray(curvature, np.float64), np.asarray(noise, np.float64)
    eps, p = float(method.schedule.size), len(A)
    R, K, Q = method.recursion(A, eps)
    if (radius := np.abs(np.linalg.eigvals(R)).max()) >= 1:
        largest = np.linalg.eigvalsh(A).max()
        raise InputError(f"the chain diverges (factor {radius:.3g} a step): expected eps below {4 / largest:.3g}")
    start = Q + K @ V @ K.T
    if growth is None:
        return scipy.linalg.solve_discrete_lyapunov(R, start)[:p, :p]
    m = len(R)
    basis = np.eye(m * m).reshape(-1, m, m)
    columns = [(B - R @ B @ R.T - K @ growth(B[:p, :p]) @ K.T).ravel() for B in basis]
    C = np.linalg.solve(np.stack(columns, axis=1), start.ravel()).reshape(m, m)
    if np.linalg.eigvalsh((C + C.T) / 2).min() < 0:
        raise InputError(f"the noise of the batches grows without end at eps = {eps:.3g}; take less, or larger batches")
    return C[:p, :p]


def _rows(name, tree):
    lengths = {x.shape[0] if getattr(x, "ndim", 0) else 0 for x in jax.tree.leaves(tree)}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(f"{name} has leaves with {sorted(lengths)} rows; expected one number of at least 1 for all")
    return lengths.pop()


def _flat(start):
    one = jax.tree.map(lambda x: x[0], start)
    return jax.vmap(lambda t: ravel_pytree(t)[0])(start), ravel_pytree(one)[1]


def _positive(owner, name, x):
    if x.ndim:
        raise InputError(f"{owner}({name}={show(np.asarray(x))}): expected one number")
    positive(owner, name, x)
