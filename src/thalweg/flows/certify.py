"""The certificate: how far to trust a learned transport, on data that it has not seen.

Answers    is the density right, are the samples right by ODE and by SDE, is anything copied, is anything missing?
Measures   NLL  mean of -log rho over held-out data, beside a full-covariance Gaussian fitted to the training data
           sliced W2  samples to held-out data, beside the floor: as many real training points to the same held-out data
           ODE-SDE        sliced W2 between the two samplers of one model, beside ODE against ODE   (2311.15996)
           residual       where the score is the gradient of a potential u: root mean square of d_t u + div b + b.grad u
                          along the ODE, centred at each time since u is known up to a number; zero when u and b are of
                          one density. Beside it the same of div b + b.grad u alone (2311.15996, (10))
           memorisation   are samples nearer to training points than to as many held-out ones? With exchangeable labels
                          on the reference points the count is a sum without replacement, so its variance is exact
           labels         share of conditional samples that the nearest neighbours in the training data recognise
           coverage  share of held-out points with a sample inside their k-th neighbour's distance (2002.09797, (4))
Cost       a few thousand samples and one likelihood pass; O(m^2 d) distances for m <= `most` points
Fails      never: what cannot be tested is listed with the reason and counts neither way
"""

import dataclasses
import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..core import Estimate, Exact, InputError, Key, Probes, divergence, estimate
from ..nets import Gradient
from ..ot import sliced_wasserstein, squared_distances
from .transport import Transport

BOUND = 4.5


@dataclass(frozen=True)
class Check:
    """One line of the certificate.

    `holds` is None for what could not be tested. `reference` is what the value is held against, named by `against`;
    `words` says in plain language what was found.
    """

    name: str
    value: float
    stderr: float
    unit: str
    reference: float
    against: str
    holds: bool | None
    words: str


@dataclass(frozen=True)
class Certificate:
    """What was measured, and the verdict. `print` it, or take `as_dict()` for machines."""

    checks: tuple[Check, ...]
    held_out: int
    train: int
    draws: int

    @property
    def holds(self) -> bool:
        """Whether every check that could be made was passed."""
        return all(c.holds is not False for c in self.checks)

    @property
    def verdict(self) -> str:
        """Plain words: what fails, or that nothing does, and what was not tested."""
        failing = [c.words for c in self.checks if c.holds is False]
        untested = [c.name for c in self.checks if c.holds is None]
        passed = sum(c.holds is True for c in self.checks)
        head = (
            "Do not trust it yet: " + "; ".join(failing) + "."
            if failing
            else f"All {passed} checks that could be made are passed."
        )
        return head + (f" Not tested: {', '.join(untested)}." if untested else "")

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"no check {name!r}; there are {', '.join(c.name for c in self.checks)}")

    def as_dict(self) -> dict:
        """Plain numbers and text; NaN and infinity become None."""
        rows = [{k: _plain(v) for k, v in dataclasses.asdict(c).items()} for c in self.checks]
        counts = {"held_out": self.held_out, "train": self.train, "draws": self.draws}
        return {"holds": self.holds, "verdict": self.verdict, "checks": rows, **counts}

    def __str__(self):
        marks = {True: "pass", False: "FAIL", None: "  - "}
        width = max(len(c.name) for c in self.checks)
        lines = [f"certificate on {self.held_out} held-out points, {self.draws} draws"]
        for c in self.checks:
            if c.holds is None and math.isnan(c.value):
                lines.append(f"  {marks[None]}  {c.name:<{width}}  {c.words}")
                continue
            error = "" if math.isnan(c.stderr) else f" ± {c.stderr:.2g}"
            held = "" if math.isnan(c.reference) else f"   {c.against} {c.reference:.4g}"
            lines.append(f"  {marks[c.holds]}  {c.name:<{width}}  {c.value:.4g}{error} {c.unit}{held}")
        return "\n".join([*lines, self.verdict])


def certify(
    transport: Transport,
    held_out,
    train,
    *,
    key: Key,
    condition=None,
    train_condition=None,
    sde: float | None = 0.5,
    steps: int = 100,
    tolerance: float = 1.25,
    replicates: int = 8,
    most: int = 1000,
    probes: int | None = None,
) -> Certificate:
    """Measure a transport on data that it was not trained on.

    Args:
        held_out, train: (n, *event) in the data's units; `train` is what it was fitted to.
        condition, train_condition: their conditions, for a conditional transport.
        sde: eps of the SDE sampler (see `Transport.noise`), or None to leave the SDE out.
        steps: steps of both samplers.
        tolerance: how many times the floor a distance may be, give or take three standard errors.
        replicates: independent sample sets, from which the standard errors come.
        most: points of each kind in a distance.
        probes: divergence probes for the likelihood; exact up to 16 dimensions and 4 probes above, when None.
    """
    held_out, train = (_checked(transport, name, x) for name, x in (("held_out", held_out), ("train", train)))
    size = min(len(held_out), len(train), most)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    real = _rows(held_out, size, rng)
    keys = iter(jax.random.split(key, 16))
    ode = _draws(transport, size, replicates, None, steps, next(keys))
    floor = [_sw2(_rows(train, size, rng), real, next_key) for next_key in jax.random.split(next(keys), replicates)]
    checks = [_likelihood(transport, held_out, train, condition, probes, most, rng, next(keys))]
    checks.append(_distance("sliced W2, ODE", ode, real, floor, tolerance, next(keys)))
    if sde is None or not transport.has_score:
        why = "the SDE was left out" if sde is None else "no score follows from what was learned, so there is no SDE"
        checks += [_untested("sliced W2, SDE", why), _untested("ODE-SDE distance", why)]
    else:
        noisy = _draws(transport, size, replicates, sde, steps, next(keys))
        checks.append(_distance("sliced W2, SDE", noisy, real, floor, tolerance, next(keys)))
        checks.append(_gap(ode, noisy, tolerance, next(keys)))
    checks.append(_memorisation(ode, held_out, train, most, rng))
    checks.append(_coverage(ode[0], real, _rows(train, size, rng)))
    checks += _residual(transport, steps, next(keys))
    checks += _labels(transport, held_out, condition, train, train_condition, steps, next(keys))
    return Certificate(tuple(checks), len(held_out), len(train), size * replicates)


def _draws(transport, size, replicates, sde, steps, key):
    x = transport.sample(size * replicates, key=key, sde=sde, steps=steps)
    return list(np.asarray(x).reshape(replicates, size, *transport.event))


def _sw2(x, y, key):
    return float(sliced_wasserstein(x, y, key=key).mean)


def _distance(name, sets, real, floor, tolerance, key):
    found = estimate(
        jnp.asarray([_sw2(x, real, k) for x, k in zip(sets, jax.random.split(key, len(sets)), strict=True)])
    )
    return _against_floor(
        name, found, estimate(jnp.asarray(floor)), tolerance, "samples are", "held-out data as real data are"
    )


def _gap(ode, noisy, tolerance, key):
    keys = jax.random.split(key, len(ode))
    found = estimate(jnp.asarray([_sw2(x, y, k) for x, y, k in zip(ode, noisy, keys, strict=True)]))
    # The floor comes from disjoint pairs of the same sets, which are independent; one set is halved.
    pairs = list(zip(ode[::2], ode[1::2], strict=False)) or [np.array_split(ode[0], 2)]
    floor = estimate(jnp.asarray([_sw2(x, y, k) for (x, y), k in zip(pairs, keys, strict=False)]))
    words = "SDE samples are", "ODE samples as other ODE samples are"
    return _against_floor("ODE-SDE distance", found, floor, tolerance, *words)


def _against_floor(name, found: Estimate, floor: Estimate, tolerance, subject, rest):
    value, base = float(found.mean), float(floor.mean)
    ratio = value / base if base > 0 else math.inf
    # Refused when it is beyond the tolerance by more than chance explains: both numbers are means of few replicates.
    error = math.hypot(float(found.stderr), tolerance * float(floor.stderr))
    holds = value - tolerance * base <= 3 * error
    words = f"{name}: {subject} {ratio:.2f} times as far from {rest} (tolerance {tolerance:g}, within three errors)"
    return Check(name, value, float(found.stderr), "(data's unit)", base, "floor", holds, words)


def _likelihood(transport, held_out, train, condition, probes, most, rng, key):
    name, unit = "NLL", "nats"
    if not transport.has_likelihood:
        return _untested(name, "the density of the source is not known, so there is no likelihood")
    index = rng.permutation(len(held_out))[: min(most, len(held_out))]
    x, c = held_out[index], None if condition is None else np.asarray(condition)[index]
    if transport.conditions is not None and c is None:
        return _untested(name, "the transport is conditional and the held-out data came without conditions")
    size = int(np.prod(transport.event))
    how = Probes(probes) if probes else (Exact() if size <= 16 else Probes(4))
    nll = -np.asarray(transport.log_prob(x, key=key, condition=c, how=how, steps=40).mean, np.float64)
    # The same dequantised points for both: the key that log_prob spreads them with.
    spread = jax.random.fold_in(key, 1)
    flat = lambda z, k: np.asarray(transport.units.encode(jnp.asarray(z), key=k), np.float64).reshape(len(z), -1)  # noqa: E731
    volume = float(transport.units.log_volume(transport.event))
    gauss = _gaussian_nll(flat(train, jax.random.fold_in(key, 2)), flat(x, spread)) - volume
    ours, gain = estimate(jnp.asarray(nll)), estimate(jnp.asarray(nll - gauss))
    holds = bool(gain.mean <= BOUND * gain.stderr)
    bits = f"; {float(ours.mean) / size / math.log(2):.3f} bits per dimension"
    words = f"NLL of held-out data is {float(ours.mean):.4g}, a fitted Gaussian's {gauss.mean():.4g}{bits}"
    return Check(name, float(ours.mean), float(ours.stderr), unit, float(gauss.mean()), "Gaussian", holds, words)


def _gaussian_nll(train, x):
    mean, cov = train.mean(0), np.atleast_2d(np.cov(train.T))
    # Ledoit-Wolf-like ridge: keeps the covariance of few points in many dimensions invertible.
    cov = cov + 1e-4 * np.trace(cov) / len(cov) * np.eye(len(cov))
    factor = np.linalg.cholesky(cov)
    z = np.linalg.solve(factor, (x - mean).T)
    return 0.5 * (z**2).sum(0) + np.log(np.diag(factor)).sum() + 0.5 * len(mean) * math.log(2 * math.pi)


def _memorisation(sets, held_out, train, most, rng):
    """Share of samples whose nearest reference point is a training one, when half of the reference points are."""
    samples = np.concatenate(sets)[: 4 * most]
    half = min(len(held_out), len(train), 4 * most)
    reference = np.concatenate([_rows(train, half, rng), _rows(held_out, half, rng)])
    nearest = _nearest(samples, reference, 1)[0][:, 0]
    counts = np.bincount(nearest, minlength=2 * half).astype(float)
    share = counts[:half].sum() / len(samples)
    # Variance of a sum of `half` counts drawn without replacement from the 2 half counts.
    variance = half**2 * counts.var(ddof=1) / (2 * half) if half > 1 else math.nan
    stderr = math.sqrt(variance) / len(samples)
    holds = bool(share - 0.5 <= BOUND * stderr)
    words = f"{share:.1%} of the samples are nearer to a training point than to a held-out one (half is expected)"
    return Check("memorisation", share, stderr, "share nearer to training data", 0.5, "expected", holds, words)


def _coverage(samples, real, reference, k=5):
    radius = np.sqrt(_nearest(real, real, k + 1)[1][:, k])
    covered = lambda cloud: np.sqrt(_nearest(real, cloud, 1)[1][:, 0]) <= radius  # noqa: E731
    ours, theirs = covered(samples), covered(reference)
    value, base = ours.mean(), theirs.mean()
    stderr = float(np.std(ours.astype(float) - theirs) / math.sqrt(len(real)))
    holds = bool(value >= base - 0.05 - BOUND * stderr)
    words = f"samples come near {value:.1%} of the held-out points, real data near {base:.1%}"
    return Check("coverage", float(value), stderr, "of held-out points", float(base), "real data", holds, words)


def _residual(transport, steps, key, n=128, saves=9):
    score = transport.fields.score
    if not isinstance(getattr(score, "fn", None), Gradient):
        return []
    c = transport.draw_conditions(n, key=jax.random.fold_in(key, 1))
    ts, x = transport.trajectories(n, key=key, saves=saves, condition=c, steps=steps)
    residual, flux = _continuity(score.fn.potential, transport.velocity, ts, x, c, key)
    square = lambda r: jnp.mean((r - jnp.mean(r, axis=1, keepdims=True)) ** 2, axis=0) * n / (n - 1)  # noqa: E731
    found, against = estimate(square(residual)), float(jnp.sqrt(jnp.mean(square(flux))))
    value = float(jnp.sqrt(found.mean))
    words = f"the potential's rate of change misses what the velocity implies by {value:.3g}, of {against:.3g}"
    return [Check("residual", value, float(found.stderr) / (2 * value), "nats a unit of t", against, "of", None, words)]


@eqx.filter_jit
def _continuity(u, b, ts, x, c, key):
    how = Exact() if x[0, 0].size <= 16 else Probes(4)

    def one(t, y, own, k):
        slope, gradient = jax.grad(u, argnums=(0, 1))(t, y, own)
        flux = divergence(lambda z: b(t, z, own), y, how, key=k).mean + jnp.sum(b(t, y, own) * gradient)
        return slope + flux, flux

    keys = jax.random.split(key, x.shape[:2])
    rows = jax.vmap(one, in_axes=(None, 0, None if c is None else 0, 0))
    return jax.vmap(rows, in_axes=(0, 0, None, 0))(ts, x, c, keys)


def _labels(transport, held_out, condition, train, train_condition, steps, key):
    name = "labels recognised"
    if transport.labels is None or train_condition is None or condition is None:
        return []
    asked = transport.draw_conditions(min(1000, len(train)), key=jax.random.fold_in(key, 0))
    x = np.asarray(transport.sample(len(asked), key=key, condition=asked, steps=steps))
    vote = lambda z: _vote(np.asarray(train_condition)[_nearest(z, train, 3)[0]], len(transport.labels))  # noqa: E731
    right = vote(x) == np.asarray(asked)
    base = float((vote(held_out) == np.asarray(condition)).mean())
    value, stderr = float(right.mean()), float(right.std() / math.sqrt(len(right)))
    floor_error = math.sqrt(base * (1 - base) / len(held_out))
    holds = value >= base - 0.01 - BOUND * math.hypot(stderr, floor_error)
    by_class = [
        right[np.asarray(asked) == i].mean() for i in range(len(transport.labels)) if (np.asarray(asked) == i).any()
    ]
    worst = f"; worst class {min(by_class):.1%}"
    words = f"neighbours recognise {value:.1%} of conditional samples, {base:.1%} of held-out data{worst}"
    return [Check(name, value, stderr, "of conditional samples", base, "held-out data", bool(holds), words)]


def _vote(labels, classes):
    counts = np.apply_along_axis(lambda row: np.bincount(row, minlength=classes), 1, labels)
    # Ties go to the nearest neighbour among the tied.
    best = counts.max(1, keepdims=True)
    tied = np.take_along_axis(counts, labels, 1) == best
    return labels[np.arange(len(labels)), tied.argmax(1)]


def _nearest(x, y, k):
    """Indices and squared distances (n, k) of the nearest points of y, in blocks of rows."""
    x, y = jnp.asarray(x).reshape(len(x), -1), jnp.asarray(y).reshape(len(y), -1)
    centre = jnp.mean(y, axis=0)
    return tuple(map(np.asarray, _nearest_blocks(x - centre, y - centre, k)))


def _nearest_rows(row, y, k):
    value, index = jax.lax.top_k(-squared_distances(row[None], y)[0], k)
    return index, -value


def _blocks(x, y, k):
    return jax.lax.map(lambda row: _nearest_rows(row, y, k), x, batch_size=256)


_nearest_blocks = jax.jit(_blocks, static_argnums=2)


def _rows(x, n, rng):
    return x[rng.choice(len(x), n, replace=False)] if n < len(x) else x


def _untested(name, why):
    return Check(name, math.nan, math.nan, "", math.nan, "", None, f"not tested: {why}")


def _plain(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _checked(transport, name, x):
    x = np.asarray(x, np.float32)
    if x.shape[1:] != transport.event:
        raise InputError(f"{name} has events {x.shape[1:]}; the transport was fitted to {transport.event}")
    if len(x) < 10:
        raise InputError(f"{name} has {len(x)} points; a certificate needs at least 10")
    if not np.isfinite(x).all():
        raise InputError(
            f"{name} has a non-finite number at row {int(np.argwhere(~np.isfinite(x))[0][0])}; remove or fill it"
        )
    return x
