"""Put what the lab's chapters train into the package, so that every page shows something when it is opened.

    python tools/ship_lab.py

Each chapter is run as a script, which trains what it needs; the weights are rounded to bfloat16.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import unmelt as um
from unmelt.lab import chapters
from unmelt.shipped import PLACE

CHAPTERS = {
    "straight-paths": ("flow_random", "flow_transport"),
    "words": ("code", "code_ar"),
    "few-steps": ("jump_teacher", "jump_student"),
}
"""Names of the models that each chapter asks `unmelt.lab.progress.trained` for."""


def main() -> None:
    """Train, round, write."""
    with tempfile.TemporaryDirectory() as cache:
        for chapter in chapters():
            if chapter.name in CHAPTERS:
                subprocess.run([sys.executable, chapter.path], env={**os.environ, "UNMELT_CACHE": cache}, check=True)
            for name in CHAPTERS.get(chapter.name, ()):
                (run,) = Path(cache, "lab").glob(f"{name}-*/config.json")
                made = PLACE / "lab" / name
                shutil.rmtree(made, ignore_errors=True)
                um.load(run.parent, "cpu").save_pretrained(made, license="apache-2.0", name=name, dtype="bfloat16")
                print(f"{made}: {sum(path.stat().st_size for path in made.iterdir()):,} bytes")


if __name__ == "__main__":
    main()
