"""A U-Net and a transformer (DiT) as the network of one denoiser: everything else is the same. They learn digits.

python examples/unet_and_dit.py [--out runs/networks]
"""

import sys
from pathlib import Path

import torch

import unmelt as um
from unmelt.cli.script import run_script


def main(
    training: int = 1500, width: int = 32, rows: int = 10, out: Path = Path("runs/networks.png")
) -> dict[str, float]:
    """Train both, sample both from the same noise, draw.

    Args:
        training: Training steps of each.
        width: Features of each network.
        rows: Samples of each.
        out: The picture to write.
    """
    source, process = um.data.digits(), um.process.Gaussian(um.schedule.Cosine())
    with um.rng.seeded(0):
        unet = um.backbone.UNet(
            channels=1, width=width, multipliers=(1, 2), blocks=1, attention=(False, True), classes=10
        )
        dit = um.backbone.DiT(channels=1, size=(8, 8), patch=2, width=2 * width, depth=3, classes=10)
    found, made = {}, []
    for name, network in {"U-Net": unet, "DiT": dit}.items():
        model = um.Model(
            denoiser=um.denoiser.NetworkDenoiser(network, process, um.prediction.V(), (1, 8, 8)),
            codec=um.codec.Affine.images(),
            grid=um.grid.balanced(20),
            objective=um.objective.Regression(drop=0.1),
            training=um.train.Training(steps=training, batch=64, lr=2e-3, ema=0.99),
            classes=source.classes,
            source=source,
            held_out=um.data.digits(held_out=True),
        ).fit(quiet=True, device="cpu")
        made.append(model.sample(rows, label=[row % 10 for row in range(rows)], guidance=2.0, seed=0))
        found[name] = model.evaluate(samples=200)["frechet"]
        numbers = sum(each.numel() for each in network.parameters())
        print(f"{name:5} {numbers:,} weights, Fréchet distance {found[name]:.3f} after {training} steps")
    um.picture.tiles(torch.cat(made), columns=rows, row_labels=list(found), path=out)
    print(f"drawn in {out}")
    return found


if __name__ == "__main__":
    sys.exit(run_script(main))
