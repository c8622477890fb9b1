"""What constructors refuse, and how a number becomes an array.

Answers    is this parameter finite, positive, not negative; and can that be known yet?
Fails      each check raises one `InputError` with the owner, the name, what was got, what was expected, what to do.
           Inside a transformation nothing is known, and nothing is refused

Parameters are kept as arrays, not as Python floats: a float inside a problem would be a compile-time constant, so
that every new temperature would be compiled anew, and it could neither be differentiated nor mapped over.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .errors import InputError


def real(x: Any) -> jax.Array:
    """A number or anything like an array, as a floating array; floats keep their dtype."""
    x = jnp.asarray(float(x)) if isinstance(x, int | float) else jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)


def known(x: Any) -> np.ndarray | None:
    """The numbers in `x`, or None where they do not exist yet (inside a transformation)."""
    return None if isinstance(x, Tracer) or not eqx.is_array(x) else np.asarray(x)


def all_known(tree: Any) -> bool:
    """Whether a tree holds no tracer."""
    return not any(isinstance(x, Tracer) for x in jax.tree.leaves(tree))


def finite(owner: str, name: str, x: Any) -> None:
    """Refuse a parameter with NaN or infinity in it."""
    if (a := known(x)) is not None and not np.isfinite(a).all():
        raise InputError(f"{owner}({name}={show(a)}): expected finite numbers")


def at_least_zero(owner: str, name: str, x: Any, remedy: str = "") -> None:
    """Refuse negative or non-finite values, with what to do instead where that is not plain."""
    finite(owner, name, x)
    if (a := known(x)) is not None and (a < 0).any():
        raise InputError(f"{owner}({name}={show(a)}): expected at least 0{_then(remedy)}")


def positive(owner: str, name: str, x: Any, remedy: str = "") -> None:
    """Refuse values that are not finite and above zero, with what to do instead where that is not plain."""
    finite(owner, name, x)
    if (a := known(x)) is not None and (a <= 0).any():
        raise InputError(f"{owner}({name}={show(a)}): expected more than 0{_then(remedy)}")


def show(a: np.ndarray) -> str:
    """A short text for one line: a number, or its extremes."""
    return f"{a:.6g}" if a.ndim == 0 else f"array of shape {a.shape} from {a.min():.6g} to {a.max():.6g}"


def _then(remedy):
    return f"; {remedy}" if remedy else ""
