"""Two modes on a line melt into one bell: the forward process, measured beside its closed form.

Points at -2 and +2 (sd 0.3) melt by alpha^2 = e^(-6 t). At any t, in one jump, the modes stand 4 alpha apart and the
noise has standard deviation sqrt(1 - alpha^2).

    python examples/melting_two_modes.py [--out runs/melting.png]
"""

import sys
from pathlib import Path

import torch

import unmelt as um
from unmelt.cli.script import run_script

TIMES = (0.0, 0.25, 0.5, 1.0)


def main(points: int = 300, seed: int = 0, out: Path = Path("runs/melting.png")) -> list[dict[str, float]]:
    """Melt, measure, draw.

    Args:
        points: How many.
        seed: Of the points and of the noise.
        out: The picture to write.
    """
    process = um.process.Gaussian(um.schedule.Exponential(rate=6.0))
    rng = um.rng.Stream(seed)
    x0, labels = um.data.TwoModes(sd=0.3).sample(points, rng)
    right, left = labels == 1, labels == 0

    print("    t   separation   4 alpha   noise sd   sqrt(1 - alpha^2)")
    rows, panels = [], []
    for time in TIMES:
        t = torch.full((points,), time, dtype=torch.float64)
        x_t, _ = process.corrupt(x0, t, rng)
        alpha = process.schedule.alpha(t)[0].item()
        row = {
            "t": time,
            "separation": (x_t[right].mean() - x_t[left].mean()).item(),
            "separation_exact": 4 * alpha,
            "noise": (x_t - alpha * x0).std().item(),
            "noise_exact": (1 - alpha**2) ** 0.5,
        }
        print("{:5.2f}   {:10.3f}   {:7.3f}   {:8.3f}   {:17.3f}".format(*row.values()))
        rows.append(row)
        panels.append(um.picture.Panel(f"t = {time}", x_t, labels))
    um.picture.scatter(panels, ("left", "right"), out)
    print(f"drawn in {out}")
    return rows


if __name__ == "__main__":
    sys.exit(run_script(main))
