"""Sampling with weights and without, against blackjax and numpyro on the same densities.

Three questions. log Z of a Bayesian regression whose evidence is known: the error of tempered SMC, times the root of
the gradients (or seconds) it took, ours with the same fixed kernel as blackjax's and as it comes. Effective draws for
each gradient and each second, by HMC with the same step and length, and by each library's own warm-up (numpyro: NUTS).
Steps of SGLD on mini-batches. Single precision, four chains side by side. Compilation is not counted, but for what
numpyro's `MCMC.run` may compile anew in a second call.
"""

import statistics
import time

import blackjax
import harness
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from blackjax.smc.resampling import systematic
from numpyro.infer import MCMC, NUTS

from thalweg.core import run, solve
from thalweg.problems import Normal, posterior
from thalweg.sampling import (
    HMC,
    SGLD,
    Adaptive,
    Annealing,
    Chains,
    Constant,
    Invariant,
    Posterior,
    Starts,
    Tempering,
    ess_bulk,
    sample_chains,
)

CHAINS, PARTICLES, MOVES, LEAPS, STEP, SHARE = 4, 1000, 2, 4, 0.03, 0.9


def timed(function, key, repeats):
    """The answers for several keys and the median seconds of one; the first call, which compiles, is left out."""
    jax.block_until_ready(function(jax.random.fold_in(key, 10**6)))
    answers, seconds = [], []
    for i in range(repeats):
        began = time.perf_counter()
        answers.append(jax.block_until_ready(function(jax.random.fold_in(key, i))))
        seconds.append(time.perf_counter() - began)
    return answers, statistics.median(seconds)


def evidence_row(name, log_z, truth, gradients, seconds):
    """Root mean squared error of log Z, and what a gradient and a second were worth."""
    error = float(np.sqrt(np.mean((np.asarray(log_z, float) - truth) ** 2)))
    row = {
        "case": "log Z, diabetes, tempered SMC",
        "solver": name,
        "error": error,
        "bias": float(np.mean(log_z) - truth),
        "runs": len(log_z),
        "gradients a run": float(np.mean(gradients)),
        "seconds a run": seconds,
        "error x sqrt(million gradients)": error * float(np.mean(gradients) / 1e6) ** 0.5,
        "error x sqrt(second)": error * seconds**0.5,
    }
    print({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return row


def evidences(repeats):
    """Ours with the kernel fixed, ours as it comes, blackjax."""
    target = posterior("diabetes")
    truth = float(target.log_z)
    base = Normal(jnp.zeros(target.event), 1.0)
    problem, rows = Tempering(base, target), []
    hmc = HMC(STEP, leaps=LEAPS)
    for name, tuning in (("thalweg, fixed kernel", 0.0), ("thalweg, tuned", 1.0)):
        # Resampling on every rung, as blackjax does, when the kernel is fixed.
        threshold = 0.5 if tuning else 1.0
        method = Annealing(Invariant(hmc, MOVES, tuning), Adaptive(SHARE), PARTICLES, threshold=threshold)
        made, seconds = timed(
            lambda k, m=method: solve(m, problem, max_steps=200, key=k, throw=False), _key(0), repeats
        )
        z = [float(r.value.tally.log_z) for r in made]
        rows.append(evidence_row(name, z, truth, [method.gradients(int(r.num_steps)) for r in made], seconds))
    smc = blackjax.adaptive_tempered_smc(
        base.log_prob,
        lambda x: target.log_prob(x) - base.log_prob(x),
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        dict(
            step_size=jnp.asarray([STEP]),
            inverse_mass_matrix=jnp.ones((1, *target.event)),
            num_integration_steps=jnp.asarray([LEAPS]),
        ),
        systematic,
        SHARE,
        num_mcmc_steps=MOVES,
    )

    @jax.jit
    def tempered(key):
        start = smc.init(base.sample(key, PARTICLES))

        def step(carry):
            state, log_z, rungs = carry
            state, info = smc.step(jax.random.fold_in(key, rungs), state)
            return state, log_z + info.log_likelihood_increment, rungs + 1

        return jax.lax.while_loop(lambda c: c[0].tempering_param < 1, step, (start, jnp.zeros(()), jnp.asarray(0)))[1:]

    made, seconds = timed(tempered, _key(1), repeats)
    gradients = [int(rungs) * PARTICLES * (1 + MOVES * LEAPS) for _, rungs in made]
    rows.append(evidence_row("blackjax", [float(z) for z, _ in made], truth, gradients, seconds))
    return rows


def chain_row(case, name, x, gradients, seconds):
    """The least effective number over the coordinates, for each gradient and second."""
    size = float(jnp.min(ess_bulk(jnp.asarray(x))))
    row = {
        "case": case,
        "solver": name,
        "effective draws": size,
        "gradients": int(gradients),
        "seconds": seconds,
        "per thousand gradients": 1e3 * size / gradients,
        "per second": size / seconds,
    }
    print({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return row


def chains(name, draws, repeats):
    """One step and length for both libraries, then each with its own warm-up; warm-up counted in neither."""
    target = posterior(name)
    x0 = 0.1 * jax.random.normal(_key(2), (CHAINS, *target.event))
    # One tuning for all: ours, averaged over the chains.
    warm = sample_chains(target, HMC(0.1, leaps=8), x0, draws=200, warmup=500, key=_key(3), throw=False)
    kernel, case, rows = warm.kernel, f"{name}, HMC of 8 leaps", []
    start = warm.x[:, -1]
    problem = Starts(target, start)
    made, seconds = timed(lambda k: run(Chains(kernel), problem, steps=draws, key=k).info.x, _key(4), repeats)
    rows.append(chain_row(case, "thalweg", np.swapaxes(made[0], 0, 1), draws * CHAINS * 8, seconds))
    peer = blackjax.hmc(
        target.log_prob, float(kernel.step_size), jnp.asarray(kernel.scale) ** 2, num_integration_steps=8
    )

    @jax.jit
    def theirs(key):
        def chain(x, k):
            def step(state, k):
                state, _ = peer.step(k, state)
                return state, state.position

            return jax.lax.scan(step, peer.init(x), jax.random.split(k, draws))[1]

        return jax.vmap(chain)(start, jax.random.split(key, CHAINS))

    made, seconds = timed(theirs, _key(5), repeats)
    rows.append(chain_row(case, "blackjax", made[0], draws * CHAINS * 8, seconds))
    numpyro.set_host_device_count(1)
    nuts = MCMC(
        NUTS(potential_fn=lambda x: -target.log_prob(x)),
        num_warmup=500,
        num_samples=draws,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    nuts.warmup(_key(6), init_params=x0, extra_fields=("num_steps",))
    # The first run compiles; the second starts from the same warm state.
    nuts.run(_key(7), extra_fields=("num_steps",))
    began = time.perf_counter()
    nuts.run(_key(8), extra_fields=("num_steps",))
    x = jax.block_until_ready(nuts.get_samples(group_by_chain=True))
    seconds = time.perf_counter() - began
    gradients = int(nuts.get_extra_fields()["num_steps"].sum())
    rows.append(chain_row(case, "numpyro, NUTS after its own warm-up", x, gradients, seconds))
    return rows


def stochastic(steps, repeats):
    """Steps of SGLD on a logistic regression, batches of 32, four chains: the same arithmetic in both."""
    target = posterior("breast-cancer")
    data, size = (target.x, target.y), len(target.y)
    log_likelihood = lambda theta, row: _bernoulli(row[0] @ theta, row[1])  # noqa: E731
    log_prior = lambda theta: -0.5 * jnp.sum(theta**2)  # noqa: E731
    theta0 = jnp.zeros((CHAINS, *target.event))
    ours = SGLD(Constant(1e-3), draws=steps // 10, thin=10)
    problem = Posterior(data, log_likelihood, log_prior, theta0, batch=32)
    calls = {"thalweg": lambda: jax.block_until_ready(run(ours, problem, steps=steps, key=_key(9)).value)}
    gradient = blackjax.sgmcmc.gradients.grad_estimator(log_prior, log_likelihood, size)
    peer = blackjax.sgld(gradient)

    @jax.jit
    def theirs(key):
        def chain(theta, key):
            def step(theta, i):
                batch_key, noise_key = jax.random.split(jax.random.fold_in(key, i))
                at = jax.random.randint(batch_key, (32,), 0, size)
                theta = peer.step(noise_key, theta, jax.tree.map(lambda a: a[at], data), 1e-3)
                return theta, theta

            return jax.lax.scan(step, theta, jnp.arange(steps))[1][::10]

        return jax.vmap(chain)(theta0, jax.random.split(key, CHAINS))

    calls["blackjax"] = lambda: jax.block_until_ready(theirs(_key(10)))
    return harness.row("SGLD step, four chains", "thalweg", "blackjax", harness.paired(calls, repeats), per=steps)


def _bernoulli(logit, y):
    return y * logit - jax.nn.softplus(logit)


def _key(i):
    return jax.random.fold_in(jax.random.key(0), i)


def main():
    """Run, print ratios, write JSON."""
    args = harness.arguments()
    repeats, draws = (2, 200) if args.quick else (20, 2000)
    rows = evidences(repeats)
    for name in ("diabetes", "breast-cancer"):
        rows += chains(name, draws, min(repeats, 5))
    rows.append(stochastic(500 if args.quick else 5000, 2 if args.quick else 7))
    harness.write("sampling", rows, ("thalweg", "jax", "blackjax", "numpyro"), args.out)


if __name__ == "__main__":
    main()
