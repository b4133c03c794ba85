"""The Python of docs/adapters.md runs as written."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import unmelt as um

GUIDE = (Path(__file__).parents[1] / "docs" / "adapters.md").read_text(encoding="utf-8")


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / ("images", "drawings")[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{number}.png")
    model = um.recipe.images(folder="images", size=8, width=8, blocks=1, steps=1, batch=2, picture_every=0)
    model.grid = um.grid.balanced(2)  # for speed
    model.fit("runs/faces", device="cpu", quiet=True)
    layers = um.adapter.LoRA().layers(model.denoiser.backbone)
    for seed, name in enumerate(("ink", "pencil")):
        tensors, rng = {}, torch.Generator().manual_seed(seed)
        for layer, module in layers.items():
            stem, outer = f"lora_unet_{layer.replace('.', '_')}", len(module.weight)
            tensors[f"{stem}.lora_down.weight"] = torch.randn(1, *module.weight.shape[1:], generator=rng)
            kernel = [1] * (module.weight.ndim - 2)
            tensors[f"{stem}.lora_up.weight"] = torch.randn(outer, 1, *kernel, generator=rng)
        save_file(tensors, f"{name}.safetensors")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        exec(block, names)
    assert names["x"].shape == (4, 3, 8, 8)
    assert not torch.equal(names["x"][0], names["x"][2])
    assert set(names["model"].adapters) == {"drawn", "pencil", "both"}
    assert {path.name for path in Path("style-peft").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
