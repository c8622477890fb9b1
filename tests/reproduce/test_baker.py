"""Baker's molecules: what is read from files, the vibrations of a guess, calls counted, failures kept."""

import importlib.util

import numpy as np
import pytest

from thalweg.core import InputError, Status, run_host
from thalweg.rare import Calculator, Dimer, SaddleSearch
from thalweg.reproduce import baker

molecules = pytest.mark.skipif(bool(baker.missing()), reason=baker.missing() or "all there")


def found(calls=10, down=1, seconds=2.0, point=None):
    """A search that ended at a saddle, or not."""
    point = np.eye(3) if point is None else point
    return baker.Found(calls, down >= 0, down, point, 0.0, seconds, 0.5)


def test_what_is_missing_is_said_and_nothing_fails(monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in baker.NEEDED else there(name))
    (claim,) = baker.molecules()
    assert claim.holds is None
    assert claim.here == "not run: pip install 'thalweg[molecules]'; pip install --no-deps pysisyphus"
    with pytest.raises(InputError, match="--no-deps pysisyphus"):
        baker.reactions()


@molecules
def test_all_guesses_with_their_charges_and_spins():
    all_ = baker.reactions()
    assert [int(r.name[:2]) for r in all_] == list(range(1, 26))
    assert {r.name[:2]: r.charge for r in all_ if r.charge} == {"16": -1, "20": 1}
    assert [r.name[:2] for r in all_ if r.multiplicity == 2] == ["04", "05", "08"]
    assert [r.name for r in baker.reactions((1, 3))] == ["01_hcn", "03_h2co"]


def test_vibrations_leave_out_what_moves_all_atoms_together(x64):
    chance = np.random.default_rng(0)
    x = chance.standard_normal((5, 3))
    rates, modes = baker.vibrations(np.eye(15), x)
    assert rates.shape == (9,)
    for shift in np.eye(3):
        np.testing.assert_allclose(np.tile(shift, 5) @ modes, 0.0, atol=1e-12)
        np.testing.assert_allclose(np.cross(shift, x - x.mean(axis=0)).ravel() @ modes, 0.0, atol=1e-12)
    # Atoms on a line turn about two axes only.
    assert len(baker.vibrations(np.eye(9), np.outer(np.arange(3.0), [1.0, 2.0, -1.0]))[0]) == 4


def test_the_claims_count_failures_and_compare_what_was_solved():
    other = np.diag([1.0, 1.0, 3.0])
    rows = {
        "pruned": [found(10), found(20), found(12, seconds=4.0)],
        "full": [found(14, seconds=9.0), found(100, -1, 9.0), found(20, point=other, seconds=9.0)],
        "plain": [found(40, seconds=1.0), found(30, 2, 1.0), found(50, seconds=1.0)],
    }
    success = baker._success(rows)
    assert success.holds
    assert success.here.startswith("3 of 3")
    assert "1 that full fits lose, 0 the other way" in success.here
    assert "0 and 1 at points of another order" in success.baseline
    median, fewer = baker._calls(rows)
    assert median.here == "12; 11 of the 2 that all solve"
    assert "full fits 20, plain dimer 50; 17 and 45 of those" in median.baseline
    assert fewer.holds
    assert "in 2 of 2" in fewer.here
    half, less = baker._times(rows, 7.0)
    assert half.holds
    assert half.here.startswith("0.30 of it: 2.7 ± 0.7 s, of these the oracle 19%; 7 s")
    assert not less.holds
    # Four seconds more in all for 68 calls less.
    assert f"a call must take {4 / 68:.2f} s" in less.here
    same = baker._same(rows)
    assert not same.holds
    assert same.here == "1 of 2"


@molecules
def test_every_call_is_counted_and_the_search_ends_at_a_saddle(x64, monkeypatch):
    from tblite.ase import TBLite

    (reaction,) = baker.reactions((1,))
    asked, run = [], TBLite.calculate
    monkeypatch.setattr(TBLite, "calculate", lambda self, *a, **k: (asked.append(1), run(self, *a, **k))[1])
    start = baker.problem(reaction)
    asked.clear()
    ended = run_host(Dimer(), start, steps=20, key=baker.KEY)
    assert len(asked) == start.system.meter.calls == int(ended.value.calls)
    result, _ = baker.search(Dimer(), reaction, start.orientation, 100)
    assert result.solved
    assert result.calls == int(ended.value.calls)
    assert 0 < result.oracle < result.seconds
    assert not baker.search(Dimer(), reaction, start.orientation, 10)[0].converged


def test_a_calculator_that_fails_ends_the_search_with_a_state_to_go_on_from(x64):
    pytest.importorskip("ase")
    from ase import Atoms
    from ase.calculators.calculator import CalculationFailed
    from ase.calculators.lj import LennardJones

    class Failing(LennardJones):
        def __init__(self, left):
            super().__init__()
            self.left = left

        def calculate(self, *args, **kwargs):
            self.left -= 1
            if self.left < 0:
                raise CalculationFailed("it did not converge")
            super().calculate(*args, **kwargs)

    def problem(calculator):
        atoms = Atoms("Ar3", [[0.0, 0.0, 0.0], [1.2, 0.0, 0.0], [0.5, 1.1, 0.0]], calculator=calculator)
        system = baker.Metered(Calculator(atoms=atoms), baker.Meter())
        axis = np.asarray([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        return SaddleSearch(system, atoms.get_positions(), axis, (18,) * 3, True)

    # One that works for a step, of at most three calls, and the first.
    failing = problem(Failing(4))
    ended = run_host(Dimer(), failing, steps=9, key=baker.KEY, throw=False)
    assert ended.status == Status.nonfinite
    assert failing.system.meter.failures == 1
    # It is not asked again; a state from before goes on with another calculator to where one search would be.
    assert failing.system.inner.atoms.calc.left == -1
    first = run_host(Dimer(), problem(Failing(4)), steps=1, key=baker.KEY)
    again = run_host(Dimer(), problem(LennardJones()), steps=2, key=baker.KEY, state=first.state)
    whole = run_host(Dimer(), problem(LennardJones()), steps=3, key=baker.KEY)
    np.testing.assert_array_equal(again.value.point, whole.value.point)


@molecules
@pytest.mark.slow
def test_the_short_claims(x64):
    claims = list(baker.molecules(short=True))
    assert len(claims) == 6
    assert claims[0].here.startswith("2 of 2")
    # Two molecules say nothing of shares and of time.
    assert [c.holds for c in claims] == [None, True, True, None, None, None]
    assert claims[-1].here.endswith("of 2")
