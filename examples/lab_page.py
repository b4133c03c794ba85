"""A chapter of the lab as one HTML file with its pictures, where no kernel runs. pip install 'unmelt[lab]'

    python examples/lab_page.py [--chapter score] [--out runs/score.html]

`unmelt lab` opens all chapters with their sliders. The file loads marimo's scripts from the network.
"""

import subprocess
import sys
from pathlib import Path

from unmelt import lab
from unmelt.cli.script import run_script
from unmelt.errors import UsageError


def main(chapter: str = "score", out: Path = Path("runs/score.html")) -> Path:
    """Run a chapter, and write what it shows.

    Args:
        chapter: Its name: melting, score, learning, way_back, guidance, ...
        out: The page to write.
    """
    files = {path.stem.partition("_")[2]: path for path in (Path(lab.__file__).parent / "chapters").glob("ch*.py")}
    if chapter not in files:
        raise UsageError(f"--chapter {chapter}", f"one of {', '.join(sorted(files))}", "--chapter score")
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "marimo", "export", "html", str(files[chapter]), "--no-include-code"]
    subprocess.run([*command, "--output", str(out), "--force"], check=True)
    print(f"{out.stat().st_size / 1e6:.1f} MB in {out}")
    return out


if __name__ == "__main__":
    sys.exit(run_script(main))
