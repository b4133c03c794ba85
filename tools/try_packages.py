"""Build the packages twice, install the wheel without extras into an empty environment, and use it there.

    python tools/try_packages.py

Both builds must be the same bytes. In the environment, a model that comes along makes a picture of a sentence, every
command and every recipe shows its help, and what needs an extra says which. pip may use the package index.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = ROOT / "tools" / "installed_checks.py"
EPOCH = 1_700_000_000
"""The time that builds are dated, in seconds (SOURCE_DATE_EPOCH)."""


def copied(place: Path, dated: int) -> Path:
    """A copy of the files that git knows, all of one date.

    Args:
        place: The folder to make.
        dated: When they were changed, in seconds.

    Returns:
        The folder.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, place / name)
            os.utime(place / name, (dated, dated))
    return place


def built(source: Path, out: Path) -> dict[str, str]:
    """Build sdist and wheel.

    Args:
        source: The tree.
        out: Folder of the packages.

    Returns:
        SHA-256 by file name.
    """
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(out)]
    subprocess.run(command, cwd=source, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)})
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}


def installed(wheel: Path, place: Path) -> Path:
    """Make an environment that has the wheel, what it requires, and nothing else.

    Args:
        wheel: The wheel.
        place: The folder to make.

    Returns:
        Its Python.
    """
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    return python


def main() -> int:
    """Do all of it.

    Returns:
        0 if all is well.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        packages = [built(copied(place / each, EPOCH + 7 * k), place / f"dist-{each}") for k, each in enumerate("ab")]
        if packages[0] != packages[1]:
            print(f"two builds differ: {packages}")
            return 1
        for name, digest in packages[0].items():
            print(f"{digest[:16]}  {(place / 'dist-a' / name).stat().st_size / 1e6:.1f} MB  {name}")
        began = time.perf_counter()
        (wheel,) = (place / "dist-a").glob("*.whl")
        python = installed(wheel, place / "environment")
        print(f"installed in {time.perf_counter() - began:.0f} s")
        (place / "empty").mkdir()
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run([str(python), str(CHECKS)], cwd=place / "empty", env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
