"""Train on your own folder of images and sample from it: any sizes and kinds, subfolders are classes.

    python examples/own_folder.py --folder faces --size 32 --out runs/faces

Stopped half-way, the same command goes on from the last checkpoint.
"""

import sys
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script


def main(folder: Path, size: int = 32, out: Path = Path("runs/own"), width: int = 64, steps: int = 20_000) -> Path:
    """Train, sample, draw.

    Args:
        folder: Where the images are.
        size: Side of the squares to learn; a multiple of 4.
        out: The run folder to write.
        width: Channels of the network.
        steps: Training steps.
    """
    model = um.recipe.images(folder=folder, size=size, width=width, steps=steps)
    print(model.notes)
    model.fit(out)

    again = um.load(out)  # the run folder needs nothing else, nor the images
    label = 0 if again.classes else None
    frames = list(again.trajectory(4, label=label, seed=0))
    um.picture.strip([frame.x for frame in frames], [frame.t for frame in frames], path=out / "trajectory.png")
    picture = out / "samples.png"
    again.picture(picture)
    print(f"samples in {picture}")
    return picture


if __name__ == "__main__":
    sys.exit(run_script(main, go_on="the same command goes on from the last checkpoint"))
