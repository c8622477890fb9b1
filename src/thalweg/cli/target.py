"""A log density in a Python file, and the options that every way of sampling it shares.

Answers    which function, points of which shape, which Gaussian to start from and which chance do the words stand for
Holds      no jax until a run is prepared: `thalweg --help` reads the defaults here
"""

import hashlib
import importlib.util
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import InputError, choose


@dataclass(frozen=True)
class DensityOptions:
    """The options of `sample-density` that every method takes; `step` and the base are in the units of the density."""

    density: str
    dim: str
    method: str = "smc"
    kernel: str = "hmc"
    step: float = 0.3
    base_mean: float = 0.0
    base_std: float = 3.0
    seed: int = 0

    def record(self) -> dict[str, Any]:
        """What the run remembers: the options, the file by its whole path so that any folder can resume it."""
        file, _, name = self.density.rpartition(":")
        return asdict(self) | {"density": f"{Path(file).resolve()}:{name}"}

    def at_least(self, **least: int) -> None:
        """Refuse a count below the least that makes sense.

        Raises:
            InputError: naming the option.
        """
        for name, number in least.items():
            if getattr(self, name) < number:
                raise InputError(f"{option(name)} is {getattr(self, name)}; expected at least {number}")


def option(name: str) -> str:
    """A field as it is typed: `base_std` is `--base-std`."""
    return f"--{name.replace('_', '-')}"


def prepare(options: DensityOptions, kernels: tuple[str, ...], **hmc: Any) -> tuple[Any, Any, Any, Any]:
    """The target, the Gaussian to start from, the kernel and the key; the user's file is run once, here.

    Args:
        options: any method's.
        kernels: the names that this method knows.
        hmc: what it gives to `HMC` besides the step.

    Raises:
        InputError: for a bad option, or a file without the function.
    """
    import jax
    import jax.numpy as jnp

    from ..problems import Density, Normal
    from ..sampling import GHMC, HMC, MALA, RandomWalk

    choose("kernel", options.kernel, kernels)
    for name in ("step", "base_std"):
        if not 0 < getattr(options, name) < float("inf"):
            raise InputError(f"{option(name)} is {getattr(options, name):g}; expected a positive number")
    shape = parse_shape(options.dim)
    target = Density(load_function(options.density), shape)
    base = Normal(jnp.full(shape, options.base_mean), options.base_std)
    made = {"hmc": partial(HMC, **hmc), "mala": MALA, "random-walk": RandomWalk, "ghmc": GHMC}
    return target, base, made[options.kernel](step_size=jnp.asarray(options.step)), jax.random.key(options.seed)


def parse_shape(text: str) -> tuple[int, ...]:
    """`5` or `4,3`: the shape of one point.

    Raises:
        InputError: for anything else.
    """
    try:
        shape = tuple(int(n) for n in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(f"--dim is {text!r}; expected a number of at least 1, or several separated by commas")
    return shape


def load_function(spec: str):
    """The function that `FILE.py:NAME` names; running the file is what it is for.

    Raises:
        InputError: for a file that is not there or fails, or a name that is no function in it.
    """
    file, _, name = spec.rpartition(":")
    if not file or not name:
        raise InputError(f"{spec!r}: expected FILE.py:FUNCTION, such as target.py:log_prob")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"there is no file {file}; expected a Python file that defines {name}(x)")
    found = importlib.util.spec_from_file_location(path.stem, path)
    if found is None or found.loader is None:
        raise InputError(f"{file} is no Python file; expected one that defines {name}(x)")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{file} failed as it was run: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, name, None)):
        functions = sorted(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
        raise InputError(f"{file} has no function {name}; it has {', '.join(functions) or 'none'}")
    return getattr(module, name)


def digest(spec: str) -> str:
    """SHA-256 of the file of `FILE.py:NAME`."""
    return hashlib.sha256(Path(spec.rpartition(":")[0]).read_bytes()).hexdigest()
