"""Self-repellent walks (2305.05097) and history-driven targets (2505.18300) on graphs of people.

Setting    Metropolis-Hastings walks to the uniform distribution; f is the degree of a node. Every walker counts its own
           visits, and n times the mean square error of its average is set beside the theory and beside i.i.d. draws
Graphs     Zachary's karate club (34 nodes) and Les Miserables (77), both of networkx
Starts     a node drawn from the target; one fake visit for each node, which does not enter the averages
Seeds      the key of the walks
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..core import run
from ..sampling.repellent import (
    HistoryDriven,
    SelfRepellent,
    asymptotic_variance,
    independent_variance,
    metropolis_walk,
)
from .claims import Claim, Reproduction, Stopwatch

ALPHAS = (0.0, 1.0, 5.0, 10.0)
# What differs by less than this many standard errors is taken for equal.
BOUND = 4.5
# The bias of the walk's start and of its feedback is of order 1/n, relative: it is allowed on top of the noise.
STEPS, WALKERS = 20_000, 1000


def self_repellent_walk(short: bool = False) -> Reproduction:
    """Is n times the mean square error what the spectrum says, and less than that of independent draws?"""
    import networkx as nx

    clock = Stopwatch()
    steps, walkers = (3000, 200) if short else (STEPS, WALKERS)
    alphas = (0.0, 1.0, 10.0) if short else ALPHAS
    claims = []
    graphs = {"karate club": nx.karate_club_graph()}
    if not short:
        graphs["Les Miserables"] = nx.les_miserables_graph()
    for name, graph in graphs.items():
        claims += _graph(name, graph, alphas, steps, walkers)
    claims += _forgetting(nx.karate_club_graph(), steps, walkers // 5)
    claims += [
        Claim("Facebook graph: TVD of HDT-MHRW and of MHRW", ".371, .520", "not run: no such data here", "", None),
        Claim("self-repellent token SGD: noise of order 1/alpha^2", "theorem", "not run", "", None),
    ]
    return clock.done("self-repellent-walk", claims)


def _walked(chain, f, method, steps):
    """The occupation after `steps`; n times the mean square error after half of them and after all; its limit."""
    key, degree = jax.random.key(0), jnp.asarray(f, jnp.float32)
    half = run(method, chain, steps=steps // 2, key=key)
    value = run(method, chain, steps=steps // 2, key=key, state=half.state).value
    return value, half.value.scaled_mse(degree), value.scaled_mse(degree), asymptotic_variance(chain, method, f)


def _graph(name, graph, alphas, steps, walkers):
    f = np.asarray([d for _, d in graph.degree()], np.float64)
    chain, where = metropolis_walk(graph), f"{name} ({len(f)} nodes)"
    iid = independent_variance(chain, f)
    repellent = {a: _walked(chain, f, SelfRepellent(a, walkers=walkers), steps) for a in alphas}
    driven = {a: _walked(chain, f, HistoryDriven(a, walkers=walkers), steps) for a in alphas if a > 0}
    last = alphas[-1]
    for label, found in (("self-repellent", repellent), ("history-driven", driven)):
        for alpha, (_, _, mse, truth) in found.items():
            yield Claim(
                f"{where}, {label}, alpha {alpha:g}: n MSE is f V f",
                f"{truth:.4g} (its V)",
                f"{mse.mean:.4g} ± {mse.stderr:.2g}",
                f"i.i.d. {iid:.5g}",
                bool(abs(mse.mean - truth) < BOUND * mse.stderr),
            )
        yield _better(where, label, last, found[last][2], iid, found[last][0], repellent[0.0][0])
    _, early, late, truth = driven[last]
    yield Claim(
        f"{where}, history-driven, alpha {last:g}: n MSE comes nearer to f V f as n grows",
        "the limit",
        f"{late.mean / truth:.2f} f V f at n = {steps}",
        f"{early.mean / truth:.2f} at n = {steps // 2}",
        bool(abs(late.mean - truth) < abs(early.mean - truth)),
    )


def _better(where, label, alpha, found, iid, value, base):
    """The walk with the largest alpha against independent draws, and its distance from the target."""
    tv, plain = value.total_variation(), base.total_variation()
    return Claim(
        f"{where}, {label}, alpha {alpha:g}: beats i.i.d. draws; TV distance falls",
        "less",
        f"{found.mean / iid:.3f} of the i.i.d. MSE; TV {tv.mean:.4f} ± {tv.stderr:.1g}",
        f"1; TV of the base chain {plain.mean:.4f} ± {plain.stderr:.1g}",
        bool(found.mean + BOUND * found.stderr < iid and tv.mean + BOUND * tv.stderr < plain.mean),
    )


def _forgetting(graph, steps, walkers):
    """gamma = (n + m)^-0.8 with the plain average: the variance that SA-SRRW promises, and the bias beside it."""
    f = np.asarray([d for _, d in graph.degree()], np.float64)
    chain, alpha = metropolis_walk(graph), 1.0
    method = SelfRepellent(alpha, walkers=walkers, decay=0.8)
    value = run(method, chain, steps=steps, key=jax.random.key(1)).value
    averages = np.asarray(value.averages(jnp.asarray(f, jnp.float32)), np.float64)
    truth, whole = (asymptotic_variance(chain, m, f) for m in (method, SelfRepellent(alpha)))
    variance = steps * averages.var(ddof=1)
    stderr = variance * np.sqrt(2 / walkers)
    mse = value.scaled_mse(jnp.asarray(f, jnp.float32))
    where = f"karate club, alpha {alpha:g}, a = 0.8"
    yield Claim(
        f"{where}: n times the variance of the plain average",
        f"{truth:.4g} (its V)",
        f"{variance:.4g} ± {stderr:.2g}",
        f"a = 1: {whole:.4g} (V)",
        bool(abs(variance - truth) < BOUND * stderr),
    )
    yield Claim(
        f"{where}: and so a lower n MSE than a = 1, at n = {steps}",
        "less, as n grows",
        f"{mse.mean:.4g} ± {mse.stderr:.2g}, of which bias {mse.mean - variance:.4g}",
        f"a = 1: {whole:.4g} (V)",
        bool(mse.mean < whole),
    )
