"""Searches for the saddles of Baker's 25 reactions with a quantum-chemistry calculator (for `ot_gp_dimer.py`).

Setting    the first guesses of Baker and Chan (1996) as the files of pysisyphus have them, of which nothing else is
           used; GFN2-xTB by tblite, in double precision. A charge of one is what the name of a file says (`anion`,
           `cation`), all other molecules are neutral; an odd number of electrons is a doublet, an even one a singlet
Start      the guess as it is: under GFN2-xTB none of them is at a saddle. The first orientation is the lowest
           vibrational mode of the guess, from differences of forces that are no part of a search: the same for all
           methods, as the paper's code starts from the softest mode
Success    within the budget of calls the largest force is below the tolerance of the search, and the Hessian by
           differences, rigid motions taken out, has exactly one eigenvalue below -FLAT
Time       of this process on its processors, as others may use the machine; what was compiled before is no part of it
"""

import importlib.util
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..core import InputError, Status, run_host
from ..core.checks import real
from ..rare import (
    AbstractGradient,
    Calculator,
    Dimer,
    Farthest,
    GPDimer,
    InverseDistances,
    SaddleSearch,
    Surrogate,
)
from ..rare._rotation import STILL, rigid_motions
from .claims import Claim, mean, rate

log = logging.getLogger(__name__)
KEY = jax.random.key(0)
FOLDER = "geom_library/baker_ts"
# What each package is installed with; of pysisyphus only files are read, so that it needs none of its own packages.
NEEDED = {
    "ase": "pip install 'thalweg[molecules]'",
    "tblite": "pip install 'thalweg[molecules]'",
    "pysisyphus": "pip install --no-deps pysisyphus",
}
# Of a difference of forces, in Angstrom; what counts as a curvature, in eV/Angstrom^2; distances of one saddle.
SHIFT, FLAT, SAME = 2e-3, 0.02, 0.1
# Calls of a search, at most; the data that a search keeps; the fits of the paper's ten, the last three among them.
BUDGET, CAPACITY, PRUNED = 100, 24, Farthest(10, 3, 16)
HEADLINE = "238 reactions: mean wall time halved, median below 30 calls, success from 86% to 96%"
# Of the calculator's iterations, relative to its default: differences of forces need more than a search.
ACCURACY = 0.1


class Reaction(NamedTuple):
    """A guess of a saddle: atomic numbers, positions in Angstrom, the charge and 2 S + 1."""

    name: str
    numbers: tuple[int, ...]
    start: np.ndarray
    charge: int
    multiplicity: int


class Meter:
    """How often an oracle was asked, how often it failed, and the seconds of processor that it took."""

    def __init__(self):
        self.calls, self.failures, self.seconds = 0, 0, 0.0


class Metered(AbstractGradient):
    """A calculator whose calls are counted and timed; once it has failed all is NaN, which ends a search.

    Fields:
        inner: the calculator.
        meter: what is counted.
        noise: a; 2 makes eps the temperature in the calculator's units of energy.
    """

    inner: Calculator
    meter: Meter = eqx.field(static=True)
    noise: Float[Array, ""] = eqx.field(converter=real, default=2.0)

    def potential(self, x):
        """The energy; the calculator keeps the forces that come with it."""
        from ase.calculators.calculator import CalculatorError

        began = time.process_time()
        self.meter.calls += 1
        try:
            return jnp.full((), jnp.nan, x.dtype) if self.meter.failures else self.inner.potential(x)
        except CalculatorError:
            self.meter.failures += 1
            return jnp.full((), jnp.nan, x.dtype)
        finally:
            self.meter.seconds += time.process_time() - began

    def drift(self, x):
        """The forces, of the point whose energy was asked for last."""
        # After a failure tblite must not be asked again: its second try ends the process.
        return jnp.full_like(x, jnp.nan) if self.meter.failures else self.inner.drift(x)


class Found(NamedTuple):
    """Of one search: calls, whether it says that it converged, directions down there, seconds, the oracle's share."""

    calls: int
    converged: bool
    down: int
    point: np.ndarray
    energy: float
    seconds: float
    oracle: float

    @property
    def solved(self) -> bool:
        """Whether it ended at a saddle of the first order."""
        return self.converged and self.down == 1


def missing() -> str:
    """How to install what is missing; nothing where all is there."""
    ways = [way for package, way in NEEDED.items() if importlib.util.find_spec(package) is None]
    return "; ".join(dict.fromkeys(ways))


def reactions(numbers: Iterable[int] | None = None) -> list[Reaction]:
    """All of them, or those of some numbers from 1 to 25.

    Raises:
        InputError: packages that are not installed, with how to install them.
    """
    if ways := missing():
        raise InputError(f"Baker's reactions need more packages: {ways}")
    from ase.io import read

    spec = importlib.util.find_spec("pysisyphus")
    folder = Path(next(iter(spec.submodule_search_locations or []))) / FOLDER if spec else Path(FOLDER)
    files = sorted(p for p in folder.glob("[0-9][0-9]_*.xyz") if not p.stem.endswith("_downhill"))
    wanted = None if numbers is None else set(numbers)
    found = []
    for path in files:
        if wanted is not None and int(path.stem[:2]) not in wanted:
            continue
        atoms: Any = read(path)
        charge = -1 if "anion" in path.stem else 1 if "cation" in path.stem else 0
        electrons = int(atoms.numbers.sum()) - charge
        kinds = tuple(int(z) for z in atoms.numbers)
        found.append(Reaction(path.stem, kinds, atoms.get_positions(), charge, 1 + electrons % 2))
    return found


def oracle(reaction: Reaction) -> Metered:
    """Energies in eV and forces in eV/Angstrom by GFN2-xTB."""
    from ase import Atoms
    from tblite.ase import TBLite

    atoms = Atoms(numbers=reaction.numbers, positions=reaction.start)
    atoms.calc = TBLite(
        method="GFN2-xTB",
        charge=reaction.charge,
        multiplicity=reaction.multiplicity,
        accuracy=ACCURACY,
        verbosity=0,
    )
    return Metered(inner=Calculator(atoms=atoms), meter=Meter())


def hessian(system: AbstractGradient, x, shift: float = SHIFT) -> np.ndarray:
    """Second derivatives from differences of the oracle's forces."""
    flat = np.asarray(x, np.float64).ravel()
    force = lambda v: np.asarray(system.drift(jnp.asarray(v.reshape(np.shape(x))))).ravel()  # noqa: E731
    rows = [(force(flat - shift * e) - force(flat + shift * e)) / (2 * shift) for e in np.eye(flat.size)]
    return 0.5 * (np.stack(rows) + np.stack(rows).T)


def vibrations(matrix: np.ndarray, x) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, rising, and eigenvectors in columns, on the motions that do not move or turn all atoms together."""
    left, values, _ = np.linalg.svd(np.asarray(rigid_motions(jnp.asarray(x))).T)
    # A linear molecule has one turn less.
    inner = left[:, int((values > STILL * values[0]).sum()) :]
    rates, modes = np.linalg.eigh(inner.T @ matrix @ inner)
    return rates, inner @ modes


def problem(reaction: Reaction, orientation=None) -> SaddleSearch:
    """From the guess, along its lowest mode unless another orientation is given."""
    system = oracle(reaction)
    if orientation is None:
        orientation = vibrations(hessian(system.inner, reaction.start), reaction.start)[1][:, 0]
    axis = np.asarray(orientation).reshape(reaction.start.shape)
    return SaddleSearch(system, reaction.start, axis, reaction.numbers, True)


def search(method, reaction: Reaction, axis, budget: int) -> tuple[Found, float]:
    """One search, and the seconds of a first pass through its steps, most of which compile them."""
    began = time.process_time()
    run_host(method, problem(reaction, axis), steps=2, key=KEY, throw=False)
    warm, there = time.process_time() - began, problem(reaction, axis)
    began, run, carry = time.process_time(), None, None
    while run is None or (bool((run.info.status == Status.running).all()) and int(run.value.calls) < budget):
        run = run_host(method, there, steps=1, key=KEY, state=carry, throw=False)
        carry = run.state
    seconds = time.process_time() - began
    system: Any = there.system
    calls, point = int(run.value.calls), np.asarray(run.value.point)
    converged = bool((run.info.status == Status.converged).all()) and calls <= budget
    down = int((vibrations(hessian(system.inner, point), point)[0] < -FLAT).sum()) if converged else -1
    return Found(calls, converged, down, point, float(run.value.energy), seconds, system.meter.seconds), warm


def apart(a: Found, b: Found) -> float:
    """The largest difference of a distance between two atoms, in Angstrom: mirror images are one saddle."""
    gaps = [np.linalg.norm(f.point[:, None] - f.point, axis=-1) for f in (a, b)]
    return float(np.abs(gaps[0] - gaps[1]).max())


def methods(reaction: Reaction) -> dict[str, Any]:
    """The three that are compared; the surrogate has a length scale for every two elements."""
    surrogate = Surrogate(InverseDistances(kinds=reaction.numbers))
    return {
        "pruned": GPDimer(surrogate, PRUNED, capacity=CAPACITY),
        "full": GPDimer(surrogate, None, capacity=CAPACITY),
        "plain": Dimer(),
    }


def molecules(short: bool = False) -> Iterator[Claim]:
    """Success, calls and time of the three methods; in short of two small molecules, with nothing to compare."""
    if ways := missing():
        yield Claim("Baker's 25 reactions, GFN2-xTB", HEADLINE, f"not run: {ways}", "", None)
        return
    rows: dict[str, list[Found]] = {"pruned": [], "full": [], "plain": []}
    compiled = 0.0
    for reaction in reactions((1, 3) if short else None):
        start = problem(reaction)
        for name, method in methods(reaction).items():
            found, warm = search(method, reaction, start.orientation, BUDGET)
            compiled += warm
            rows[name].append(found)
            log.info("%s %s %s", reaction.name, name, found._replace(point=None))
    others = [_success(rows), *_times(rows, compiled), _same(rows)]
    if short:
        others = [replace(claim, holds=None) for claim in others]
    yield from (others[0], *_calls(rows), *others[1:])


def _success(rows):
    solved = {name: np.asarray([f.solved for f in found]) for name, found in rows.items()}
    n = len(solved["pruned"])
    only = int((solved["pruned"] & ~solved["full"]).sum()), int((solved["full"] & ~solved["pruned"]).sum())
    stray = {name: sum(f.converged and f.down != 1 for f in found) for name, found in rows.items()}
    return Claim(
        f"Baker's {n} reactions, GFN2-xTB, at most {BUDGET} calls: searches that end at a saddle of the first order, "
        "more with pruned fits",
        "96% against 86%",
        f"{rate(int(solved['pruned'].sum()), n)}; {only[0]} that full fits lose, {only[1]} the other way; "
        f"{stray['pruned']} at points of another order",
        f"full fits {rate(int(solved['full'].sum()), n)}, plain dimer {rate(int(solved['plain'].sum()), n)}; "
        f"{stray['full']} and {stray['plain']} at points of another order",
        bool(solved["pruned"].sum() > solved["full"].sum()),
    )


def _calls(rows):
    # A search that failed is one of more calls than any.
    costs = {name: np.asarray([f.calls if f.solved else np.inf for f in found]) for name, found in rows.items()}
    both = np.isfinite(costs["pruned"]) & np.isfinite(costs["plain"])
    all_three = both & np.isfinite(costs["full"])
    medians = {name: np.median(c) for name, c in costs.items()}
    yield Claim(
        f"Baker's {len(both)} reactions: median calls of a search, failures counted as more than any",
        "below 30",
        f"{medians['pruned']:.0f}; {np.median(costs['pruned'][all_three]):.0f} of the {all_three.sum()} that all solve",
        f"full fits {medians['full']:.0f}, plain dimer {medians['plain']:.0f}; "
        f"{np.median(costs['full'][all_three]):.0f} and {np.median(costs['plain'][all_three]):.0f} of those",
        bool(medians["pruned"] < 30),
    )
    ratio = costs["plain"][both] / costs["pruned"][both]
    yield Claim(
        f"Baker's {len(both)} reactions: fewer calls than the plain dimer where both find a saddle",
        "fewer",
        f"{np.median(ratio):.2f} times fewer in the median, fewer in {int((ratio > 1).sum())} of {both.sum()}",
        "",
        bool(np.median(ratio) > 1),
    )


def _times(rows, compiled):
    seconds = {name: np.asarray([f.seconds for f in found]) for name, found in rows.items()}
    share = {name: sum(f.oracle for f in found) / seconds[name].sum() for name, found in rows.items()}
    ratio, n = seconds["pruned"].mean() / seconds["full"].mean(), len(seconds["plain"])
    show = lambda name: f"{mean(seconds[name])} s, of these the oracle {share[name]:.0%}"  # noqa: E731
    yield Claim(
        f"Baker's {n} reactions: mean time of a search under half of that with full fits (seconds of processor; "
        f"stores of {CAPACITY} data are factorised whole)",
        "under half",
        f"{ratio:.2f} of it: {show('pruned')}; {compiled:.0f} s of compiling left out",
        f"full fits {show('full')}",
        bool(ratio < 0.5),
    )
    own = {name: np.asarray([f.seconds - f.oracle for f in rows[name]]) for name in ("pruned", "plain")}
    calls = {name: np.asarray([f.calls for f in rows[name]]) for name in own}
    both = np.asarray([a.solved and b.solved for a, b in zip(rows["pruned"], rows["plain"], strict=True)])
    more = (own["pruned"] - own["plain"])[both].sum()
    saved = (calls["plain"] - calls["pruned"])[both].sum()
    even = f"a call must take {more / saved:.2f} s for that" if saved > 0 else "no call is slow enough for that"
    yield Claim(
        f"Baker's {n} reactions: less time than the plain dimer, with calls of milliseconds",
        "less, with calls of seconds and minutes",
        f"{show('pruned')}; {even}",
        f"plain dimer {show('plain')}",
        bool(seconds["pruned"].mean() < seconds["plain"].mean()),
    )


def _same(rows):
    counts = {}
    for other in ("full", "plain"):
        pairs = [p for p in zip(rows["pruned"], rows[other], strict=True) if p[0].solved and p[1].solved]
        counts[other] = sum(apart(*p) < SAME for p in pairs), len(pairs)
    return Claim(
        f"Baker's {len(rows['pruned'])} reactions: pruned and full fits lead to the same saddle (distances between "
        f"atoms within {SAME:g} Angstrom)",
        "the same",
        f"{counts['full'][0]} of {counts['full'][1]}",
        f"pruned fits and the plain dimer {counts['plain'][0]} of {counts['plain'][1]}",
        bool(counts["full"][0] == counts["full"][1]),
    )
