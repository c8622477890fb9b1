"""Gromov-Wasserstein initialisation of new embeddings (2503.22517), on digits as a second modality.

Setting    old tokens: a hundred 8x8 digits as 64 pixels; new tokens: the same digits under a random rotation, in
           another order, so that nothing but the inner distances connects the two. Full-batch gradient descent of
           softmax regression, new token -> its digit, from four initial tables of embeddings: Gaussian with the mean
           and covariance of the old ones; the GW map; the map with its rows shuffled; and, since an average over old
           tokens has less variance than they have, Gaussian with the mean and covariance of the map
Readings   the head is trained from zero on fixed embeddings; or, as in the paper, the head of the old tokens is frozen
           and the embeddings are trained
Seeds      the digits, the rotation, the order, the Gaussian and the key of the matching
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..core import Status
from ..ot.gromov import initialise_embeddings
from .claims import Claim, Reproduction, Stopwatch

# The mean negative log-likelihood to reach: that of a confident head, far below log 10.
LOSS, MAX_STEPS = 0.3, 20_000
# Step sizes of the descent, in both readings the same for every table.
RATES = {"head": 0.5, "embeddings": 1.0}
TABLES = ("Gaussian", "GW map", "shuffled map", "shrunk Gaussian")
READINGS = {
    "head": "head from zero, embeddings fixed",
    "embeddings": "head of the old tokens frozen, embeddings trained",
}


def moe_map(short: bool = False) -> Reproduction:
    """Is the map found, does it save steps, and does a shuffled map save none?"""
    clock = Stopwatch()
    runs = [_one(seed, restarts=4) for seed in range(2 if short else 5)]
    claims = [_matching(runs), *(claim for reading in READINGS for claim in _steps(runs, reading)), _shrinkage(runs)]
    claims += [
        Claim("7.5M samples suffice to add image generation", "7.5M", "not run", "", None),
        Claim("text loss changes by less than 0.3 % (a third party's digest)", "<0.3 %", "not run", "", None),
        Claim("redundancy of the experts: cosine of outputs, router entropy", "–", "not run", "", None),
    ]
    return clock.done("moe-modality", claims)


def _one(seed, restarts, n=100):
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    pixels, digits = (np.asarray(v) for v in load_digits(return_X_y=True))
    chosen = rng.choice(len(pixels), n, replace=False)
    old, labels = pixels[chosen] / 16, digits[chosen]
    rotation = np.linalg.qr(rng.normal(size=(64, 64)))[0]
    order = rng.permutation(n)
    new = (old @ rotation)[order]
    x, e = jnp.asarray(new, jnp.float32), jnp.asarray(old, jnp.float32)
    found = initialise_embeddings(x, e, epsilon=5e-3, key=jax.random.key(seed), restarts=restarts, throw=False)
    mapped = np.asarray(found.embeddings)
    gaussian = rng.multivariate_normal(old.mean(0), np.cov(old.T), size=n)
    shuffled = mapped[rng.permutation(n)]
    shrunk = rng.multivariate_normal(mapped.mean(0), np.cov(mapped.T), size=n, check_valid="ignore")
    tables = dict(zip(TABLES, (gaussian, mapped, shuffled, shrunk), strict=True))
    frozen = _head_of(e, jnp.asarray(labels))
    return {
        "matched": float(np.mean(np.argmax(found.gromov.plan.matrix, axis=1) == order)),
        "converged": bool(found.gromov.status == Status.converged),
        "marginal_error": float(found.gromov.marginal_error),
        "spread": float(found.gromov.spread),
        "variance": float(mapped.var(0).sum() / old.var(0).sum()),
        "head": {k: _head_steps(jnp.asarray(v, jnp.float32), jnp.asarray(labels[order])) for k, v in tables.items()},
        "embeddings": {
            k: _embedding_steps(frozen, jnp.asarray(v, jnp.float32), jnp.asarray(labels[order]))
            for k, v in tables.items()
        },
    }


def _loss(head, embeddings, labels):
    logits = embeddings @ head[0] + head[1]
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def _descend(loss, x, rate, goal, most):
    """Steps of gradient descent until the loss is at most `goal`, and where that is."""

    def go_on(state):
        return (state[1] < most) & (loss(state[0]) > goal)

    def step(state):
        return jax.tree.map(lambda p, g: p - rate * g, state[0], jax.grad(loss)(state[0])), state[1] + 1

    return jax.lax.while_loop(go_on, step, (x, jnp.asarray(0)))


def _zero_head(embeddings):
    return jnp.zeros((embeddings.shape[1], 10)), jnp.zeros(10)


@jax.jit
def _head_of(embeddings, labels):
    """The head of the old tokens, trained until its loss on them is half of what new tokens are to reach."""
    zero = _zero_head(embeddings)
    return _descend(lambda h: _loss(h, embeddings, labels), zero, RATES["head"], LOSS / 2, MAX_STEPS)[0]


@jax.jit
def _head_steps(embeddings, labels):
    zero = _zero_head(embeddings)
    return _descend(lambda h: _loss(h, embeddings, labels), zero, RATES["head"], LOSS, MAX_STEPS)[1]


@jax.jit
def _embedding_steps(head, embeddings, labels):
    return _descend(lambda e: _loss(head, e, labels), embeddings, RATES["embeddings"], LOSS, MAX_STEPS)[1]


def _matching(runs):
    matched = [r["matched"] for r in runs]
    error, spread = max(r["marginal_error"] for r in runs), max(r["spread"] for r in runs)
    shown = f"{np.mean(matched):.2f} of tokens (worst seed {min(matched):.2f}); marginal error {error:.0e}"
    shown += f", spread over restarts {spread:.0e}"
    good = all(r["converged"] for r in runs) and min(matched) > 0.95
    return Claim("the plan finds the old token behind each new one", "–", shown, f"{1 / 100:.2f} by chance", good)


def _steps(runs, reading):
    """Fewer steps than from the Gaussian in every seed; shuffled, no fewer than from the shrunk Gaussian."""
    steps = {k: np.asarray([float(r[reading][k]) for r in runs]) for k in TABLES}
    cell = {k: _mean(v) for k, v in steps.items()}
    what = f"steps to a loss of {LOSS}: {READINGS[reading]}"
    gain = bool((steps["GW map"] < steps["Gaussian"]).all())
    yield Claim(f"{what}: GW map", "fewer", cell["GW map"], f"Gaussian {cell['Gaussian']}", gain)
    more = steps["shuffled map"] - steps["shrunk Gaussian"]
    # A difference of two standard errors over the seeds is the noise of the two draws.
    lost = bool(more.mean() > -2 * more.std(ddof=1) / np.sqrt(len(more)))
    baseline = f"Gaussian {cell['Gaussian']}; shrunk as the map is {cell['shrunk Gaussian']}"
    yield Claim(f"{what}: shuffled map", "no fewer", cell["shuffled map"], baseline, lost)


def _mean(steps):
    """With the standard error over seeds; a run that was cut off counts with the steps that it was given."""
    cut = int((steps >= MAX_STEPS).sum())
    text = f"{steps.mean():.0f} ± {steps.std(ddof=1) / np.sqrt(len(steps)):.0f}"
    return f"over {text} ({cut} of {len(steps)} cut off at {MAX_STEPS})" if cut else text


def _shrinkage(runs):
    kept = [r["variance"] for r in runs]
    shown = f"{np.mean(kept):.2f} of the old variance (lowest {min(kept):.2f})"
    return Claim("at this epsilon the average shrinks the embeddings", "–", shown, "1 for the true map", max(kept) < 1)
