"""One environment for all tests: CPU, four devices, checked shapes, remembered compilations."""

import gc
import itertools
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# All of this is read when jax is first imported, or when it first touches a device; the environment also
# reaches the processes that the command-line tests start.
os.environ["JAX_PLATFORMS"] = "cpu"
# Sharding is tested on four host devices, so that it needs no special machine.
flags = [f for f in os.environ.get("XLA_FLAGS", "").split() if "host_platform_device_count" not in f]
# Most of a test's time is compilation: half of the optimisation takes half of the time, and small shapes run as fast.
level = [] if any("optimization_level" in f for f in flags) else ["--xla_backend_optimization_level=1"]
os.environ["XLA_FLAGS"] = " ".join([*flags, *level, "--xla_force_host_platform_device_count=4"])
# Most compilations do not change from one run to the next.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
# The small ones too: an operation outside `jit` is compiled for every shape, and there are thousands.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# No test opens a window.
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import jaxtyping
import pytest

# Every annotated shape in the library is checked at trace time. This must come before thalweg is first
# imported; THALWEG_TYPECHECK=0 shows what a user without the checks sees.
if os.environ.get("THALWEG_TYPECHECK", "1") != "0":
    jaxtyping.install_import_hook("thalweg", "beartype.beartype")

# Two stricter readings of jax, each one line away:
#   rank promotion "raise" refuses (n, d) + (d,), which a library of vmapped leaf functions seldom needs;
#   dtype promotion "strict" refuses float32 + int32, and would show where a dtype is not followed.
# jax.config.update("jax_numpy_rank_promotion", "raise")
# jax.config.update("jax_numpy_dtype_promotion", "strict")


# Mappings that the kernel allows a process (65 530 by default), and tests between two looks at them.
MAPPINGS, OFTEN = 30_000, 10
tests_since = itertools.count(1)


@pytest.fixture(autouse=True)
def bounded_memory():
    """Compiled functions are never dropped by themselves; a suite of them fills a machine, and before that its maps.

    Each takes several mappings of memory, and a compiler that is refused one takes the process with it. Above a quarter
    of the machine's memory, or half of the mappings, they are dropped; the cache on disk gives back what is asked for
    again.
    """
    yield
    statm, maps = Path("/proc/self/statm"), Path("/proc/self/maps")
    if next(tests_since) % OFTEN or not statm.exists():
        return
    full = int(statm.read_text().split()[1]) > os.sysconf("SC_PHYS_PAGES") / 4
    if full or maps.read_bytes().count(b"\n") > MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def key():
    """The chance of a test: fixed, so that a test that passed passes again."""
    return jax.random.key(0)


@pytest.fixture
def x64():
    """Double precision for the length of one test; the rest of the suite runs as users do, in single."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a browser. Tests that take it carry `@pytest.mark.chromium`.

    Give it `--headless --no-sandbox`: continuous integration runs as root, which Chromium's sandbox refuses.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        message = "no chromium on this machine: install it to run the tests that open the report in a browser"
        if os.environ.get("THALWEG_REQUIRE_CHROMIUM") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found
