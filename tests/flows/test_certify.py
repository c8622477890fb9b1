"""The certificate passes what is right and names what is wrong."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import InputError, Score, Velocity
from thalweg.flows import Empirical, Fields, Gaussian, Independent, Linear, OneSided, Transport, Units, certify
from thalweg.nets import Gradient, Potential
from thalweg.problems import MixtureInterpolant, gaussian, two_modes

PATH = OneSided(Linear())
UNITS = Units(jnp.asarray([3.0, -1.0]), jnp.asarray([2.0, 0.5]))
TRAIN, HELD = (np.asarray(UNITS.decode(two_modes().sample(jax.random.key(s), 400))) for s in (1, 2))
OPTIONS = {"key": jax.random.key(0), "steps": 60, "replicates": 6, "most": 400}


def transport(law, source=None):
    velocity = MixtureInterpolant(gaussian(np.zeros(2), np.eye(2)), law, PATH).velocity
    return Transport(Fields(velocity=velocity), PATH, Independent(), source or Gaussian((2,)), UNITS, (2,))


@pytest.fixture(scope="module")
def right():
    return certify(transport(two_modes()), HELD, TRAIN, sde=0.3, **OPTIONS)


def test_the_exact_transport_is_certified(right):
    assert right.holds, str(right)
    assert right.verdict.startswith("All")
    names = {"NLL", "sliced W2, ODE", "sliced W2, SDE", "ODE-SDE distance", "memorisation", "coverage"}
    assert names <= {c.name for c in right.checks}
    law = two_modes()
    truth = -np.mean(jax.vmap(law.log_prob)(UNITS.encode(jnp.asarray(HELD)))) - float(UNITS.log_volume((2,)))
    assert abs(right["NLL"].value - truth) < 0.02
    assert right["NLL"].value < right["NLL"].reference
    assert all(c.stderr > 0 for c in right.checks if c.holds is not None)


def test_it_prints_and_serialises(right):
    text = str(right)
    assert "pass" in text
    assert "floor" in text
    back = json.loads(json.dumps(right.as_dict(), allow_nan=False))
    assert back["holds"] is True
    assert {"name", "value", "stderr", "unit", "reference", "against", "holds", "words"} == set(back["checks"][0])


def test_a_wrong_law_fails_and_is_named():
    # One mode is missing: the density, the distance and the coverage all see it.
    law = gaussian(two_modes().means[1], two_modes().covs[1])
    wrong = certify(transport(law), HELD, TRAIN, sde=None, **OPTIONS)
    assert not wrong.holds
    for name in ("NLL", "sliced W2, ODE", "coverage"):
        assert wrong[name].holds is False, name
    assert wrong.verdict.startswith("Do not trust it yet: ")
    assert "times as far from held-out data" in wrong.verdict
    assert "ODE-SDE distance" in wrong.verdict  # listed as not tested
    assert wrong["ODE-SDE distance"].holds is None


def test_copies_of_the_training_data_are_noticed():
    # A transport that returns training points: x0 is drawn from them and nothing moves.
    still = Velocity(lambda t, x, c=None: jnp.zeros_like(x))
    copy = Transport(
        Fields(velocity=still), Linear(), Independent(), Empirical(UNITS.encode(jnp.asarray(TRAIN))), UNITS, (2,)
    )
    found = certify(copy, HELD, TRAIN, **OPTIONS)
    assert found["memorisation"].holds is False
    assert found["memorisation"].value == pytest.approx(1.0, abs=0.01)
    assert found["sliced W2, ODE"].holds
    assert found["NLL"].holds is None
    assert "density of the source is not known" in found["NLL"].words


@pytest.mark.parametrize("own", [True, False])
def test_a_potential_is_held_against_its_velocity(own):
    noise, law = gaussian(np.zeros(2), np.eye(2)), two_modes()
    exact = MixtureInterpolant(noise, law, PATH)
    other = MixtureInterpolant(noise, law if own else gaussian(law.means[1], law.covs[1]), PATH)
    # A potential is known up to a function of time, which must not count.
    u = Potential(lambda t, x, c: other.log_prob(t, x) + 3 * t**2)
    fields = Fields(velocity=exact.velocity, score=Score(Gradient(u)))
    found = certify(
        Transport(fields, PATH, Independent(), Gaussian((2,)), UNITS, (2,)), HELD, TRAIN, sde=None, **OPTIONS
    )["residual"]
    assert found.holds is None
    assert found.stderr > 0
    assert (found.value < 1e-3 * found.reference) == own, found
    assert own or found.value > 0.1 * found.reference


def test_labels_are_recognised_or_not():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400).astype(np.int32)
    data = (rng.normal(size=(400, 2)) * 0.3 + 4.0 * labels[:, None]).astype(np.float32)

    def conditional(sign):
        def velocity(t, x, c=None):
            return jnp.zeros_like(x) if c is None else 4.0 * (c if sign > 0 else 1 - c) * jnp.ones_like(x)

        source = Empirical(jnp.asarray(rng.normal(size=(200, 2)) * 0.3, jnp.float32))
        units = Units(jnp.zeros(2), jnp.ones(2))
        fields = Fields(velocity=Velocity(velocity))
        return Transport(fields, Linear(), Independent(), source, units, (2,), jnp.asarray(labels), ("low", "high"))

    for sign, holds in ((1, True), (-1, False)):
        options = {**OPTIONS, "steps": 4}
        found = certify(
            conditional(sign), data[:150], data[150:], condition=labels[:150], train_condition=labels[150:], **options
        )
        assert found["labels recognised"].holds is holds
        assert found["labels recognised"].value == pytest.approx(1.0 if holds else 0.0, abs=0.02)


def test_bad_input():
    flow = transport(two_modes())
    for held, message in (
        (HELD[:, :1], r"held_out has events \(1,\)"),
        (HELD[:4], r"at least 10"),
        (np.where(np.arange(800).reshape(400, 2) == 7, np.nan, HELD), r"non-finite number at row 3"),
    ):
        with pytest.raises(InputError, match=message):
            certify(flow, held, TRAIN, **OPTIONS)
