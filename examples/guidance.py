"""What guidance buys and what it costs: one class of an exact ring at three scales, and guided in the middle alone.

python examples/guidance.py [--label 1] [--out runs/guidance.png]
"""

import sys
from pathlib import Path

import torch

import unmelt as um
from unmelt.cli.script import run_script


def main(label: int = 1, points: int = 1000, out: Path = Path("runs/guidance.png")) -> dict[str, tuple[float, float]]:
    """Sample from the same noise with each guidance, measure, draw.

    Args:
        label: The class, 0 to 5.
        points: Samples of each.
        out: The picture to write.
    """
    process = um.process.Gaussian(um.schedule.VarianceExploding(0.02, 20.0))
    ring = um.denoiser.Mixture.ring(modes=6, radius=2.0, sd=0.3, process=process)
    towards = ring.means[label] / ring.means[label].norm()
    guided = {f"scale {scale:g}": um.guidance.CFG(ring, scale) for scale in (1.0, 2.0, 4.0)}
    guided["scale 4, in the middle"] = um.guidance.CFG(ring, 4.0, interval=(0.3, 0.7))
    found, panels = {}, []
    for name, denoiser in guided.items():
        how = {"label": label, "sampler": um.sampler.DPMpp(order=2), "grid": um.grid.karras(20), "seed": 0}
        x = um.sample(denoiser, rows=points, **how)
        found[name] = (x @ towards.to(x)).mean().item(), x.std(0).mean().item()
        print(
            f"{name:23} {found[name][0]:.2f} from the origin (2 in truth), spread {found[name][1]:.3f} (0.3 in truth)"
        )
        panels.append(um.picture.Panel(name, x, torch.zeros(len(x), dtype=torch.int64)))
    um.picture.scatter(panels, path=out)
    print(f"drawn in {out}")
    return found


if __name__ == "__main__":
    sys.exit(run_script(main))
