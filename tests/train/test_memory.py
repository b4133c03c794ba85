"""Memory: flat however long training goes, and however large the folder is."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
]

OWN = """
from pathlib import Path
def own():
    "Megabytes that are this process's alone: what files it has mapped, the system can take back."
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) / 1024
"""

STEPS = """
import unmelt as um
from unmelt.train import ObjectiveStep, Trainer
model = um.recipe.digits(steps=10_000, width=16)
trainer = Trainer(ObjectiveStep(model.denoiser, model.objective), model.source, model.codec, model.training)
for step in range(1, 2501):
    trainer.step()
    if step in (500, 2500):
        print(own())
"""

FOLDER = """
import sys
import unmelt as um
before = own()
model = um.recipe.images(folder=sys.argv[1], size=64, width=8, blocks=1, steps=30, batch=16, picture_every=0)
model.fit(device="cpu", quiet=True)
print(before, own(), model.notes)
"""


def said(program, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", OWN + program, *map(str, arguments)],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=1500,
    ).stdout


def test_memory_is_constant_over_two_thousand_steps():
    early, late = map(float, said(STEPS).split())
    print(f"after 500 steps {early:.0f} MB, after 2500 {late:.0f} MB")
    assert late - early < 10


def test_fifty_thousand_images_are_never_all_in_memory(tmp_path):
    count, folder = 50_000, tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)

    def make(number):
        Image.fromarray(np.roll(noise[number % 64], number // 64, 1)).save(folder / f"{number}.jpg")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, range(count)))
    before, after, notes = said(FOLDER, folder, UNMELT_CACHE=str(tmp_path / "cache")).split(maxsplit=2)
    print(f"{float(before):.0f} MB before, {float(after):.0f} MB after; pixels {count * 64 * 64 * 3 / 2**20:.0f} MB")
    assert notes.startswith("50,000 images used")
    assert float(after) - float(before) < 300 < count * 64 * 64 * 3 / 2**20 / 1.9
