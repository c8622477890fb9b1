"""What every benchmark shares: paired timing, the machine in words, and one JSON file."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def paired(functions: dict[str, Callable[[], object]], repeats: int = 7) -> dict[str, list[float]]:
    """Seconds of each function, measured in turn (A B C A B C ...), so that a drifting machine hits all alike.

    Each function must block until its work is done; the first call of each (compilation) is not counted.
    """
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - began)
    return times


def row(case: str, ours: str, peer: str, times: dict[str, list[float]], per: int = 1, aim: str = "") -> dict:
    """One line: medians, and the median over rounds of the ratio peer / ours within a round."""
    ratios = [b / a for a, b in zip(times[ours], times[peer], strict=True)]
    found = {
        "case": case,
        "ours": statistics.median(times[ours]) / per,
        "peer": statistics.median(times[peer]) / per,
        "against": peer,
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "aim": aim,
    }
    spread = f"[{found['low']:.2f}, {found['high']:.2f}]"
    print(f"{case:<52} {found['ours']:.3e} s  {peer:<28} {found['peer']:.3e} s  x{found['ratio']:.2f} {spread} {aim}")
    return found


def peak_memory() -> float:
    """The most that this process has held, in GiB.

    Not `getrusage`: after a fork and an exec it still tells what the parent held.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20


def write(name: str, rows: list[dict], packages: tuple[str, ...], out: Path) -> None:
    """Write `<name>.json`: rows, device and versions."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"name": name, "device": machine, "versions": versions, "rows": rows}, indent=1)
    (out / f"{name}.json").write_text(text + "\n")


def arguments() -> argparse.Namespace:
    """`--out DIRECTORY` and `--quick` (few repeats: to see that it runs)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()
