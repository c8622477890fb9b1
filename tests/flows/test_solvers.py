"""Every named solver runs on the motions that its note says, and refuses the others."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError
from thalweg.flows import Brownian, ConstantNoise, FlowODE, FlowSDE, Independent, Linear, OneSided
from thalweg.flows.convert import denoiser_from_score
from thalweg.flows.exponential import half_log_snr_grid
from thalweg.flows.solvers import NOTES, SOLVERS, solver
from thalweg.problems import MixtureInterpolant, gaussian
from thalweg.processes import simulate

PATHS = {"one-sided": OneSided(Linear()), "two-sided": Linear(Brownian())}


def motion(path, sde):
    exact = MixtureInterpolant(gaussian(np.zeros(1), np.eye(1)), gaussian(np.array([0.5]), np.array([[0.3]])), path)
    eta = denoiser_from_score(exact.score, path, Independent())
    if sde:
        return FlowSDE(exact.velocity, path, exact.score, ConstantNoise(0.2), eta)
    return FlowODE(exact.velocity, path, exact.score, eta)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_takes_what_its_note_says(name, key):
    note, x = NOTES[name], jnp.asarray([[0.4], [-1.0]])
    for kind, path in PATHS.items():
        for sde in (False, True):
            fits = (note.sde if sde else note.ode) and (kind == "one-sided" or not note.one_sided)
            grid = half_log_snr_grid(PATHS["one-sided"], 2, 0.1, 0.9)
            if not fits and not (name in ("euler-maruyama", "stochastic-heun", "interpolant-heun") and not sde):
                with pytest.raises(InputError, match=r"expected"):
                    simulate(motion(path, sde), x, grid, method=solver(name), key=key)
    kind = "one-sided" if note.one_sided else "two-sided"
    moved = simulate(motion(PATHS[kind], note.sde), x, grid, method=solver(name), key=key).value
    assert bool(jnp.isfinite(moved).all())
    assert float(jnp.abs(moved - x).max()) > 0.01


def test_every_solver_has_a_note():
    assert NOTES.keys() == SOLVERS.keys()


def test_an_unknown_name_names_its_neighbours():
    with pytest.raises(InputError, match=r"did you mean 'heun'"):
        solver("huen")
