"""From a sentence to pictures, by a model that comes with unmelt; a program reads what the pictures show.

python examples/words_to_pictures.py [--prompt "two red stars"] [--plan "2 red star b2 e5"]
"""

import sys
import time
from pathlib import Path

from rich.console import Console

import unmelt as um
from unmelt.cli.script import run_script
from unmelt.scene import Thing

PROMPT = "a red star above a blue cat"


def main(
    prompt: str = PROMPT, plan: str | None = None, rows: int = 8, seed: int = 0, out: Path = Path("runs/words")
) -> list[list[Thing]]:
    """Sample, read, draw.

    Args:
        prompt: What the pictures should show.
        plan: The same as a plan, such as "1 red star b1; 1 blue cat d6". None: the model's planner makes one.
        rows: How many pictures.
        seed: Of the pictures.
        out: Folder of the pictures.
    """
    console = Console(highlight=False)
    began = time.perf_counter()
    model = um.load("emoji")
    frames = list(model.trajectory(rows, prompt=prompt, plan=plan or True, guidance=2.0, seed=seed))
    made = frames[-1].x
    seconds = time.perf_counter() - began
    found = um.scene.read(made)
    for row, things in enumerate(found):
        console.print(f"picture {row}: {', '.join(map(_said, things)) or 'nothing that can be read'}")
    out.mkdir(parents=True, exist_ok=True)
    um.picture.tiles(made).save(out / "samples.png")
    um.picture.strip([frame.x for frame in frames], [frame.t for frame in frames], path=out / "trajectory.png")
    console.print(f'"{prompt}": {rows} pictures in {seconds:.1f} s, {out}/samples.png; from noise, trajectory.png')
    return found


def _said(thing: Thing) -> str:
    """Colour, object and whereabouts."""
    across = "left" if thing.x < 0.4 else "right" if thing.x > 0.6 else "middle"
    down = "top" if thing.y < 0.4 else "bottom" if thing.y > 0.6 else "middle"
    return f"{thing.colour} {thing.object} ({down} {across})"


if __name__ == "__main__":
    sys.exit(run_script(main))
