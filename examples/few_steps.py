"""A student that jumps: a model of a ring needs many network calls, and its student one.

python examples/few_steps.py [--out runs/few_steps.png]
"""

import sys
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script


def main(training: int = 600, points: int = 1000, out: Path = Path("runs/few_steps.png")) -> dict[str, float]:
    """Distil, sample, measure, draw.

    Args:
        training: Training steps of the student.
        points: Samples of each.
        out: The picture to write.
    """
    teacher = um.load("ring")
    teacher.source = um.data.Ring()  # a model that comes along has no data
    student = teacher.distill(um.distill.Shortcut(training_steps=training), steps=1, quiet=True, device="cpu")

    truth, _ = um.data.Ring().sample(points, um.rng.Stream(1))
    made = {
        "teacher, 20 calls": teacher.sample(points, steps=20, seed=0),
        "teacher, 1 call": teacher.sample(points, steps=1, seed=0),
        "student, 1 call": student.sample(points, seed=0),
    }
    found = {name: um.metric.energy_distance(x, truth) for name, x in made.items()}
    for name, distance in found.items():
        print(f"{name:18} energy distance to the data {distance:.4f}")
    um.picture.scatter([um.picture.Panel(name, x) for name, x in made.items()], path=out)
    print(f"drawn in {out}")
    return found


if __name__ == "__main__":
    sys.exit(run_script(main))
