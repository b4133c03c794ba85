"""Two stages: an autoencoder makes pictures small, a diffusion model learns the small ones. Here, of painted scenes.

python examples/latents.py [--pictures 2000] [--out runs/latents]
"""

import math
import sys
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script


def main(
    pictures: int = 2000, training: int = 3000, width: int = 128, batch: int = 32, out: Path = Path("runs/latents")
) -> dict[str, float]:
    """Paint, train both stages, draw.

    Args:
        pictures: How many to learn from.
        training: Training steps of each stage.
        width: Features of the transformer.
        batch: Pictures per training step.
        out: Folder of scenes, runs and pictures.
    """
    scenes = out / "scenes"
    if not scenes.exists():
        um.data.draw_scenes(scenes, pictures=pictures, size=32, quiet=True)
    same = {"folder": scenes, "size": 32, "steps": training, "batch": batch, "picture_every": 0}
    codec = um.recipe.autoencoder(widths=(16, 32), blocks=(1, 1), **same).fit(out / "codec")
    model = um.recipe.latents(codec=out / "codec", width=width, depth=4, caption="auto", **same).fit(out / "run")

    codec.picture(out / "codec.png")
    um.picture.tiles(model.sample(8, caption="two red stars", seed=0), path=out / "samples.png")
    psnr = codec.evaluate()["psnr"]
    print(f"reconstructions {psnr:.1f} dB: {out}/codec.png; samples from {tuple(model.denoiser.shape)} numbers each:")
    print(f"drawn in {out / 'samples.png'}")
    return {"psnr": psnr, "numbers": float(math.prod(model.denoiser.shape))}


if __name__ == "__main__":
    sys.exit(run_script(main, go_on="the same command goes on from the last checkpoint"))
