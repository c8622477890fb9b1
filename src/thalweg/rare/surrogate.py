"""A Gaussian process in place of an expensive potential: energies and gradients in, energies and gradients out.

Answers    what does the potential look like between the few points at which it has been computed?
Equations  k(x, x') = sigma^2 e^{-1/2 |u - u'|^2} + c,  u = theta phi(x), with phi the inverse distances 1/r_ij, or x
           cov(E, g') = dk/dx',  cov(g, E') = dk/dx,  cov(g, g') = d^2k/dx dx'          (2510.06030, block covariance)
           fit: 1/2 y.K^-1 y + 1/2 log |K| + 1/2 sum ((log theta - log theta_0)/spread)^2
                - s log(log ceiling - log sigma^2),  s = min(1e-4 + 1e-3 n, 0.5)         (2510.06030, the barrier)
Symbols    sigma^2 -> variance, theta -> scales (one a group of features), c -> offset, phi -> features
Cost       a fit: some tens of factorisations of a matrix of n (1 + d) rows, cubic in the rows that the data may take;
           a prediction: n features. Data that are not there yet are rows of the unit matrix, so nothing recompiles
Fails      InputError for a variance at its barrier. A matrix that is not positive definite is tried with more jitter;
           then the posterior says so in `sound`, and a search that uses it ends with the status `precision`
Departs    from the code of the paper: no Student-t prior on sigma, so that what the barrier does can be seen; the
           prior on theta stays where it began instead of following the last fit
"""

import abc
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float, Int

from ..core import InputError
from ..core.checks import at_least_zero, finite, known, positive, real
from ..core.types import Point

# The barrier's strength: at first, its growth with each datum, and its most.
STRENGTH, GROWTH, STRONGEST = 1e-4, 1e-3, 0.5
# Tenfold rises of the jitter before a factorisation is given up.
RISES = 4
# The longest move of a logarithm in one step of the fit, halvings of a step, and the share of the promised descent.
LEAP, HALVINGS, SUFFICIENT = 1.0, 12, 1e-4


class AbstractFeatures(eqx.Module):
    """What the kernel sees of a point."""

    @abc.abstractmethod
    def __call__(self, x: Point) -> Float[Array, " features"]:
        """The features of one point."""

    def groups(self, shape: tuple[int, ...]) -> np.ndarray:
        """For points of a shape: which of the length scales each feature has, whole numbers from 0."""
        like = jax.eval_shape(self, jax.ShapeDtypeStruct(shape, jnp.zeros(()).dtype))
        return np.zeros(like.shape[0], np.int32)


class Coordinates(AbstractFeatures):
    """The coordinates themselves, with one length scale: for points that are not atoms."""

    def __call__(self, x):
        """The flattened point."""
        return x.ravel()


class InverseDistances(AbstractFeatures):
    """1/r_ij of every two atoms that move, and of each of them with each that does not.

    Fields:
        fixed: the atoms that do not move, (fixed, dim), or None. Periodic images are not looked at.
        kinds: of the moving atoms, then of the fixed, whole numbers: a length scale for each pair of kinds. None for
            one length scale.
    """

    fixed: Float[Array, "fixed dim"] | None = eqx.field(
        converter=lambda x: None if x is None else real(x), default=None
    )
    kinds: tuple[int, ...] | None = eqx.field(static=True, default=None)

    def __call__(self, x):
        """Of atoms, (atoms, dim)."""
        if x.ndim != 2:
            raise InputError(f"InverseDistances of a point of shape {x.shape}: expected atoms, (atoms, dim)")
        i, j = np.triu_indices(x.shape[0], 1)
        gaps = x[i] - x[j]
        if self.fixed is not None:
            gaps = jnp.concatenate([gaps, (x[:, None] - self.fixed.astype(x.dtype)).reshape(-1, x.shape[1])])
        return 1 / jnp.linalg.norm(gaps, axis=1)

    def groups(self, shape):
        """A number for every unordered pair of kinds that occurs."""
        n, k = shape[0], 0 if self.fixed is None else self.fixed.shape[0]
        if n < 2 and not k:
            raise InputError("InverseDistances of one atom: expected two, or `fixed` atoms around it")
        kinds = np.zeros(n + k, int) if self.kinds is None else np.asarray(self.kinds)
        if len(kinds) != n + k:
            raise InputError(f"InverseDistances({len(kinds)} kinds): expected {n} moving and {k} fixed")
        i, j = np.triu_indices(n, 1)
        i, j = np.concatenate([i, np.repeat(np.arange(n), k)]), np.concatenate([j, n + np.tile(np.arange(k), n)])
        pairs = np.sort(np.stack([kinds[i], kinds[j]]), axis=0)
        return np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int32)


class Data(eqx.Module):
    """What the oracle has said, oldest first; places from `count` on are empty."""

    points: Float[Array, "capacity *event"]
    energies: Float[Array, " capacity"]
    gradients: Float[Array, "capacity *event"]
    count: Int[Array, ""]

    @property
    def capacity(self) -> int:
        """How many there can be."""
        return self.energies.shape[0]

    @property
    def there(self) -> Bool[Array, " capacity"]:
        """Which places are taken."""
        return jnp.arange(self.capacity) < self.count

    @classmethod
    def first(cls, capacity: int, x: Point, energy, gradient) -> "Data":
        """With one entry, whose point also fills the empty places."""
        many = lambda v: jnp.broadcast_to(v, (capacity, *jnp.shape(v)))  # noqa: E731
        return cls(many(x), many(energy), many(gradient), jnp.asarray(1))

    def added(self, x: Point, energy, gradient) -> "Data":
        """With one more at the end; there must be a place."""
        put = lambda all_, one: all_.at[self.count].set(one)  # noqa: E731
        rows = put(self.points, x), put(self.energies, energy), put(self.gradients, gradient)
        return Data(*rows, self.count + 1)

    def without(self, place) -> "Data":
        """Without one, the later ones moved up."""
        order = jnp.arange(self.capacity)
        order = jnp.minimum(order + (order >= place), self.capacity - 1)
        return Data(self.points[order], self.energies[order], self.gradients[order], self.count - 1)

    def taken(self, places: Int[Array, " few"], count) -> "Data":
        """Some of them: as many of `places` as `count` says."""
        return Data(self.points[places], self.energies[places], self.gradients[places], count)


class Hyper(eqx.Module):
    """log sigma^2 and the logarithms of the length scales, in this order, as the fit moves them."""

    logs: Float[Array, " parameters"]

    @property
    def variance(self) -> Float[Array, ""]:
        """sigma^2."""
        return jnp.exp(self.logs[0])

    @property
    def scales(self) -> Float[Array, " groups"]:
        """theta, in units of one over a feature."""
        return jnp.exp(self.logs[1:])


class Posterior(eqx.Module):
    """The process, conditioned on data: `energy(x)` and `gradient(x)` of its mean.

    Fields:
        sound: whether the covariance could be factorised.
        jitter: what was added to its diagonal for that.
    """

    features: AbstractFeatures
    theta: Float[Array, " features"]
    known: Float[Array, "capacity features"]
    along: Float[Array, "capacity features"]
    weights: Float[Array, " capacity"]
    shift: Float[Array, ""]
    variance: Float[Array, ""]
    sound: Bool[Array, ""]
    jitter: Float[Array, ""]

    def energy(self, x: Point) -> Float[Array, ""]:
        """The mean of the energy at one point."""
        gap = self.theta * self.features(x) - self.known
        near = self.variance * jnp.exp(-0.5 * jnp.sum(gap**2, axis=1))
        return self.shift + jnp.sum(near * (self.weights + jnp.sum(gap * self.along, axis=1)))

    def gradient(self, x: Point) -> Point:
        """The mean of the gradient, which is the gradient of the mean."""
        return jax.grad(self.energy)(x)


class Surrogate(eqx.Module):
    """The kernel, what is known of it before any data, and how it is fitted.

    Fields:
        features: what the kernel sees: `InverseDistances` for atoms, `Coordinates` for toys.
        variance: sigma^2 to begin with, in squared units of energy.
        scale: theta to begin with, one over the features' unit: the reciprocal of a length in features.
        offset: c, the variance of a constant that is added to all energies.
        noise: variance of the data, of energies and of gradients, in their squared units.
        jitter: what is added to it so that the matrix can be factorised.
        spread: how far theta may go from where it began, as a standard deviation of its logarithm.
        ceiling: where the barrier on the variance stands, more than `variance`; None for no barrier.
        steps: of the fit, at most; a fit begins where the last one ended.
        enough: a fit ends when a step lowers the loss by less, in nats; that of the paper's code.

    Raises:
        InputError: a variance at its ceiling, where the barrier is infinite; values that are not positive.
    """

    features: AbstractFeatures = InverseDistances()
    variance: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    scale: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    offset: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    noise: Float[Array, ""] = eqx.field(converter=real, default=1e-7)
    jitter: Float[Array, ""] = eqx.field(converter=real, default=1e-6)
    spread: Float[Array, ""] = eqx.field(converter=real, default=1.0)
    ceiling: Float[Array, ""] | None = eqx.field(converter=lambda c: None if c is None else real(c), default=2.0)
    steps: int = eqx.field(static=True, default=30)
    enough: Float[Array, ""] = eqx.field(converter=real, default=1e-4)

    def __check_init__(self):
        for name in ("variance", "scale", "noise", "spread"):
            positive("Surrogate", name, getattr(self, name))
        for name in ("offset", "jitter", "enough"):
            at_least_zero("Surrogate", name, getattr(self, name))
        if self.steps < 0:
            raise InputError(f"Surrogate(steps={self.steps}): expected at least 0, which leaves the kernel as it is")
        if self.ceiling is None:
            return
        finite("Surrogate", "ceiling", self.ceiling)
        top, now = known(self.ceiling), known(self.variance)
        if top is not None and now is not None and not now < top:
            raise InputError(
                f"Surrogate(variance={now:.6g}, ceiling={top:.6g}): the barrier is infinite there; expected a variance "
                "below its ceiling. Raise it, in squared units of energy, or take ceiling=None for no barrier"
            )

    def first(self, shape: tuple[int, ...], dtype) -> Hyper:
        """Where the first fit begins, for points of a shape."""
        groups = int(self.features.groups(shape).max()) + 1
        return Hyper(jnp.log(jnp.concatenate([self.variance[None], jnp.full(groups, self.scale)])).astype(dtype))

    def fitted(self, data: Data, hyper: Hyper) -> tuple[Hyper, Float[Array, ""], Int[Array, ""]]:
        """The most likely parameters from where they are, the loss there, and the steps taken."""
        start = self.first(data.points.shape[1:], data.energies.dtype)
        phi, jacobian = self._seen(data)
        loss = lambda logs: self._loss(logs, start.logs, phi, jacobian, data)  # noqa: E731
        # A fit that ended where nothing is finite is begun again.
        logs, value, steps = _minimised(loss, hyper.logs, start.logs, self.steps, self.enough)
        return Hyper(logs), value, steps

    def loss(self, data: Data, hyper: Hyper) -> Float[Array, ""]:
        """What the fit makes small."""
        start = self.first(data.points.shape[1:], data.energies.dtype)
        return self._loss(hyper.logs, start.logs, *self._seen(data), data)

    def posterior(self, data: Data, hyper: Hyper) -> Posterior:
        """The process given all data."""
        groups = self.features.groups(data.points.shape[1:])
        phi, jacobian = self._seen(data)
        theta = hyper.scales[groups]
        there, n = data.there, data.capacity
        y = self._targets(data).ravel()
        matrix = self._matrix(hyper, theta * phi, theta[:, None] * jacobian, there)
        diagonal, floor = jnp.arange(matrix.shape[0]), self._floor(matrix.dtype)

        def failed(carry):
            _, factor, rises = carry
            return ~jnp.all(jnp.isfinite(factor)) & (rises <= RISES)

        def raised(carry):
            _, _, rises = carry
            jitter = floor * 10.0**rises
            # The matrix has the first of them already.
            return jitter, jnp.linalg.cholesky(matrix.at[diagonal, diagonal].add(jitter - floor)), rises + 1

        start = floor, jnp.full_like(matrix, jnp.nan), jnp.asarray(0)
        jitter, factor, _ = jax.lax.while_loop(failed, raised, start)
        sound = jnp.all(jnp.isfinite(factor))
        alpha = cho_solve((factor, True), y).reshape(n, -1)
        along = jnp.einsum("nfd,nd->nf", theta[:, None] * jacobian, alpha[:, 1:])
        offset = self.offset.astype(y.dtype)
        shift = data.energies[0] + offset * jnp.sum(alpha[:, 0])
        return Posterior(self.features, theta, theta * phi, along, alpha[:, 0], shift, hyper.variance, sound, jitter)

    def covariance(self, data: Data, hyper: Hyper) -> Float[Array, "rows rows"]:
        """Of the data: the energy and then the gradient of one point after another."""
        theta = hyper.scales[self.features.groups(data.points.shape[1:])]
        phi, jacobian = self._seen(data)
        return self._matrix(hyper, theta * phi, theta[:, None] * jacobian, data.there)

    def _seen(self, data):
        """Features of all points, and their derivatives, (capacity, features, d)."""
        phi = jax.vmap(self.features)(data.points)
        jacobian = jax.vmap(jax.jacfwd(self.features))(data.points)
        return phi, jacobian.reshape(*phi.shape, -1)

    def _floor(self, dtype):
        # Single precision cannot factorise what double precision can.
        return jnp.maximum(self.noise + self.jitter, 100 * jnp.finfo(dtype).eps).astype(dtype)

    def _targets(self, data):
        """Energies above that of the oldest point, and gradients; 0 in empty places."""
        flat = data.gradients.reshape(data.capacity, -1)
        rows = jnp.concatenate([(data.energies - data.energies[0])[:, None], flat], axis=1)
        return jnp.where(data.there[:, None], rows, 0.0)

    def _matrix(self, hyper, u, a, there):
        n, rows = u.shape[0], 1 + a.shape[2]
        block = hyper.variance * blocks(u, a)
        block = block.at[:, 0, :, 0].add(self.offset.astype(u.dtype))
        full = jnp.where((there[:, None] & there)[:, None, :, None], block, 0.0).reshape(n * rows, n * rows)
        noise = jnp.where(jnp.repeat(there, rows), self._floor(u.dtype), 1.0)
        return full + jnp.diag(noise)

    def _loss(self, logs, start, phi, jacobian, data):
        hyper = Hyper(logs)
        theta = hyper.scales[self.features.groups(data.points.shape[1:])]
        factor = jnp.linalg.cholesky(self._matrix(hyper, theta * phi, theta[:, None] * jacobian, data.there))
        y = self._targets(data).ravel()
        fit = 0.5 * y @ cho_solve((factor, True), y) + jnp.sum(jnp.log(jnp.diagonal(factor)))
        prior = 0.5 * jnp.sum(((logs[1:] - start[1:]) / self.spread.astype(logs.dtype)) ** 2)
        if self.ceiling is None:
            return fit + prior
        gap = jnp.log(self.ceiling).astype(logs.dtype) - logs[0]
        strength = jnp.minimum(STRENGTH + GROWTH * data.count, STRONGEST).astype(logs.dtype)
        inside = gap > 0
        barrier = jnp.where(inside, -strength * jnp.log(jnp.where(inside, gap, 1.0)), jnp.inf)
        return fit + prior + barrier


def blocks(u: Float[Array, "n features"], a: Float[Array, "n features d"]) -> Float[Array, "n rows n rows"]:
    """Covariances of energies and gradients of a squared exponential of variance 1, from scaled features u, du/dx = a.

    Entry [i, 0, j, 0] is that of two energies, [i, 0, j, 1 + e] = dk/dx'_e, [i, 1 + d, j, 0] = dk/dx_d, and
    [i, 1 + d, j, 1 + e] = d^2k/dx_d dx'_e.
    """
    gap = u[:, None] - u
    k = jnp.exp(-0.5 * jnp.sum(gap**2, axis=-1))
    left, right = jnp.einsum("ifd,ijf->ijd", a, gap), jnp.einsum("jfe,ijf->ije", a, gap)
    n, d = k.shape[0], a.shape[2]
    both = jnp.einsum("ifd,jfe->ijde", a, a) - left[..., :, None] * right[..., None, :]
    top = jnp.concatenate([jnp.ones((n, n, 1, 1), u.dtype), right[:, :, None]], axis=3)
    low = jnp.concatenate([-left[..., None], both], axis=3)
    full = k[..., None, None] * jnp.concatenate([top, low], axis=2)
    return full.transpose(0, 2, 1, 3).reshape(n, 1 + d, n, 1 + d)


class _Descent(NamedTuple):
    """BFGS: where it is, and the trial that it is about to make; `tried` counts halvings, from -1 for the start.

    `fell` is by how much the last step lowered the loss.
    """

    x: Float[Array, " parameters"]
    value: Float[Array, ""]
    gradient: Float[Array, " parameters"]
    inverse: Float[Array, "parameters parameters"]
    along: Float[Array, " parameters"]
    size: Float[Array, ""]
    tried: Int[Array, ""]
    steps: Int[Array, ""]
    fell: Float[Array, ""]


def _minimised(loss: Callable, x, otherwise, steps: int, enough):
    """A few parameters by BFGS with halved steps, from x, or from elsewhere where x gives nothing finite.

    The loss and its gradient stand in one place only, as compiling them is most of the time of a short search.
    """
    eye, zero = jnp.eye(x.size, dtype=x.dtype), jnp.zeros_like(x)
    small = 10 * jnp.sqrt(jnp.finfo(x.dtype).eps)

    def going(d):
        level = (d.tried >= 0) & (jnp.max(jnp.abs(d.gradient)) < small)
        return ~level & (d.fell >= enough) & (d.tried < HALVINGS) & (d.steps <= steps)

    def body(d):
        trial = d.x + d.size * d.along
        value, g = jax.value_and_grad(loss)(trial)
        # The first evaluation is no step: it is taken, or the other start is.
        first, finite = d.tried < 0, jnp.isfinite(value)
        enough = value <= d.value + SUFFICIENT * d.size * (d.gradient @ d.along)
        good = finite & (first | enough)
        step, y = trial - d.x, g - d.gradient
        curved = good & ~first & (step @ y > 0)
        rho = 1 / jnp.where(curved, step @ y, 1.0)
        left = eye - rho * jnp.outer(step, y)
        inverse = jnp.where(curved, left @ d.inverse @ left.T + rho * jnp.outer(step, step), eye)
        along = -inverse @ g
        size = jnp.minimum(1.0, LEAP / jnp.maximum(jnp.max(jnp.abs(along)), 1e-30))
        stay = jnp.where(first, otherwise, d.x)
        kept = stay, d.value, d.gradient, d.inverse, d.along
        missed = _Descent(*kept, 0.5 * d.size, d.tried + ~first, d.steps, d.fell)
        taken = _Descent(trial, value, g, inverse, along, size, jnp.zeros_like(d.tried), d.steps + 1, d.value - value)
        lost = jnp.where(first & ~finite & (jnp.all(d.x == otherwise)), HALVINGS, missed.tried)
        missed = missed._replace(tried=lost)
        return jax.tree.map(lambda a, b: jnp.where(good, a, b), taken, missed)

    nothing = jnp.asarray(jnp.inf, x.dtype)
    start = _Descent(x, nothing, zero, eye, zero, jnp.ones((), x.dtype), jnp.asarray(-1), jnp.asarray(0), nothing)
    end = jax.lax.while_loop(going, body, start)
    return end.x, end.value, jnp.maximum(end.steps - 1, 0)
