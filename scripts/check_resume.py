"""Kill a fit at random moments, resume it each time, and compare with a fit that was left alone, bit for bit.

python scripts/check_resume.py --kills 10
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIT = ("--target", "two-moons", "--steps", "12000", "--chunk", "50", "--width", "32", "--save-every", "0", "--quiet")


def thalweg(*arguments: object) -> list[str]:
    """The command line of this environment."""
    return [sys.executable, "-m", "thalweg", *map(str, arguments)]


def digest(run: Path) -> bytes:
    """The learned numbers, as they lie on disk."""
    return (run / "model" / "arrays.safetensors").read_bytes()


def newest(run: Path) -> str:
    """The name of the newest checkpoint, or nothing."""
    return max((p.name for p in run.glob("checkpoints/step-*")), default="none")


def kill_at_random(command: list[str], chance: random.Random, running: Path) -> bool:
    """Start, wait until training has begun and a random moment longer, kill -9; whether that came before its end."""
    before = newest(running)
    process = subprocess.Popen(command)
    # Until it has got further than the last time: loading and compiling take most of the first seconds.
    while process.poll() is None and newest(running) == before:
        time.sleep(0.01)
    time.sleep(chance.uniform(0.0, 0.3))
    process.kill()
    return process.wait() < 0


def main() -> int:
    """Run; exit status 0 when the parameters agree to the last bit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, folder = random.Random(options.seed), Path(tempfile.mkdtemp())
    whole, killed = folder / "whole", folder / "killed"
    subprocess.run(thalweg("fit", *FIT, "--out", whole), check=True)
    command, count = thalweg("fit", *FIT, "--out", killed), 0
    for _ in range(options.kills):
        if not kill_at_random(command, chance, killed):
            break
        count += 1
        print(f"kill {count}: newest checkpoint {newest(killed)}", flush=True)
        command = thalweg("fit", "--resume", killed, "--quiet", "--save-every", "0")
    subprocess.run(thalweg("fit", "--resume", killed, "--quiet"), check=True)
    same = digest(whole) == digest(killed)
    print(f"{count} kills; parameters {'are the same bits' if same else 'DIFFER'}")
    shutil.rmtree(folder)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
