"""How often the interval for log Z covers it, and whether it is refused where it would not.

Setting    200 estimates of four independent runs each, on densities whose log Z is known in closed form or by
           quadrature; intervals at 90 %
Trusted    estimates with a good status: their intervals have to cover between 84 and 96 % of the time, about three
           standard errors of a share of 200
Refused    where nearly all are refused, all intervals together, which nobody would be shown, have to miss the band;
           where they do not the refusal is too careful, which is no fault of coverage and is said. The few that are
           trusted all the same must not miss more often than intervals at 90 % can by chance
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri
from scipy.stats import binom

from ..core import solve, succeeded
from ..problems import Banana, Funnel, ManyWell, Normal, PhiFour, eight_modes, posterior
from ..sampling.annealing import Annealing
from ..sampling.evidence import Evidence, evidence
from ..sampling.kernels import HMC, MALA
from ..sampling.movers import Invariant, Jarzynski
from ..sampling.tempering import Adaptive, Ladder, Tempering
from .claims import Claim, Reproduction, Stopwatch

LEVEL, BAND = 0.9, (0.84, 0.96)
REPLICATES = 4
# Fewer trusted estimates than this do not fix their share; they can still be too many misses for chance.
ENOUGH, CHANCE = 20, 1e-3


@dataclass(frozen=True)
class Case:
    """A method on a density, with a base of this spread."""

    name: str
    problem: Tempering
    method: Annealing


def cases(short: bool = False) -> list[Case]:
    """Well-behaved ones first, then those that must not be trusted."""
    smc = Annealing(Invariant(HMC(0.4, leaps=3)), Adaptive(0.8), 200)
    ais = Annealing(Invariant(MALA(0.2), tuning=0.0), Ladder.power(40, 2.0), 200, resampler=None)
    path = Annealing(Jarzynski(0.03), Ladder.power(40, 2.0), 200, resampler=None)
    rush = Annealing(Invariant(MALA(0.2), tuning=0.0), Ladder.power(2), 100, resampler=None)
    modes, banana, wells = eight_modes(), Banana(0.1, 2.0), ManyWell(4, 2)
    found = [
        Case("banana, SMC", _from(banana, 4.0), smc),
        Case("eight modes, Jarzynski's weights", _from(modes, 6.0), path),
        Case("funnel in d = 10, AIS of two rungs", _from(Funnel(10), 1.0), rush),
    ]
    if short:
        return found
    return [
        found[0],
        Case("eight modes, SMC", _from(modes, 6.0), smc),
        Case("eight modes, AIS", _from(modes, 6.0), ais),
        found[1],
        Case("wells in d = 4, SMC", _from(wells, 2.0), smc),
        Case("wells in d = 4, AIS", _from(wells, 2.0), ais),
        Case("phi-four on six sites, SMC", _from(PhiFour((6,)), 1.5), smc),
        Case("diabetes posterior, SMC", _from(posterior("diabetes"), 1.0), smc),
        Case("funnel in d = 3, SMC", _from(Funnel(3, 1.5), 2.0), smc),
        Case("funnel in d = 10, SMC", _from(Funnel(10), 1.0), smc),
        found[2],
        Case("wells in d = 4, AIS of two rungs", _from(wells, 4.0), rush),
        Case("eight modes from the middle, AIS of two rungs", _from(modes, 1.0), rush),
        Case("eight modes from the middle, SMC", _from(modes, 0.5), smc),
    ]


def certificate_evidence(short: bool = False) -> Reproduction:
    """Coverage of the trusted, case by case, and what would have become of the refused."""
    clock = Stopwatch()
    return clock.done("certificate-evidence", [judged(case, 60 if short else 200) for case in cases(short)])


def judged(case: Case, estimates: int, seed: int = 0) -> Claim:
    """One row: how many of the estimates are trusted, and how many of those intervals cover."""
    found = estimated(case, estimates, seed)
    half = ndtri((1 + LEVEL) / 2) * np.asarray(found.log_z.stderr, float)
    # Python's words for arrays of statuses are one status at a time.
    trusted = np.asarray(eqx.filter_vmap(succeeded)(found.status))
    error = np.asarray(found.log_z.mean, float) - np.asarray(case.problem.target.log_z, float)
    inside = np.abs(error) <= half
    k, everyone = int(trusted.sum()), float(np.mean(inside))
    text = f"{k} of {estimates} trusted"
    if k:
        text += f", of which {np.mean(inside[trusted]):.1%} cover"
    base = f"all {estimates}: {everyone:.1%} cover; error {np.median(np.abs(error)):.2g} in the middle"
    if k >= ENOUGH:
        # Three standard errors of the share, where there are fewer than 200.
        room = max(0.06, 3 * np.sqrt(LEVEL * (1 - LEVEL) / k))
        holds = bool(max(LEVEL - room, 0) <= np.mean(inside[trusted]) <= min(LEVEL + room, 1))
        return Claim(f"{case.name}: trusted intervals cover at {LEVEL:.0%}", f"within {room:.0%}", text, base, holds)
    # How probable it is that so few of the trusted cover, were each to cover as often as it says.
    if binom.cdf(int(inside[trusted].sum()), k, LEVEL) < CHANCE:
        return Claim(f"{case.name}: the few that are trusted cover", f"at {LEVEL:.0%}, by chance", text, base, False)
    if BAND[0] <= everyone <= BAND[1]:
        return Claim(f"{case.name}: refused, though it would cover", "–", text, base, None)
    return Claim(f"{case.name}: refused, for it would not cover", "refused", text, base, True)


@eqx.filter_jit
def _estimated(method, problem, keys):
    go = lambda k: solve(method, problem, max_steps=80, key=k, throw=False).value.tally  # noqa: E731
    # Some at once: a few hundred particles alone leave a processor idle.
    tallies = jax.lax.map(jax.vmap(go), keys, batch_size=20)
    return eqx.filter_vmap(evidence)(tallies)


def estimated(case: Case, estimates: int, seed: int) -> Evidence:
    """Independent estimates of log Z, each from its own runs; an axis of `estimates`."""
    keys = jax.random.split(jax.random.key(seed), (estimates, REPLICATES))
    return _estimated(case.method, case.problem, keys)


def _from(target, spread):
    return Tempering(Normal(jnp.zeros(target.event), spread), target)
