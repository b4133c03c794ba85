"""Export a model to a folder that onnxruntime samples from, without torch and without this library.

    denoiser.onnx       (x_t, t, what is known of each row) -> x0, the belief
    encoder.onnx        data -> what the denoiser sees
    decoder.onnx        what the denoiser sees -> data
    sampling.json       shapes, classes, and the times of the model's grid with their alpha and sigma

One step from t to s of the deterministic sampler (DDIM: Song et al., 2021, equation 12) needs no more than these:

    x_s = alpha_s x0 + sigma_s / sigma_t (x_t - alpha_t x0)

The same step takes a flow map, whose denoiser.onnx has the time to arrive at, s, as another input. Guidance at a scale
is null + scale (known - null), of two calls.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmelt import rng
from unmelt.codec import Codec
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.interop.export.folder import export_folder
from unmelt.interop.export.onnx_graph import onnxruntime, write_graph
from unmelt.model import Model
from unmelt.train.atomic_files import write_json

ROWS, TOKENS = 2, 3
"""Sizes of the examples; files take any number of rows, and of tokens in a sequence."""


def to_onnx(model: Model, folder: str | Path, *, steps: int | None = None) -> Path:
    """Write a model of numbers (points, images, sound, latents) as ONNX files, each compared with the model.

    Args:
        model: The model. Its rows keep the shape that it was trained on.
        folder: The folder to write, new or empty.
        steps: Steps of the grid in sampling.json. None: the model's own number.

    Returns:
        The folder.

    Raises:
        UsageError: If onnxruntime is not installed, the folder is not empty, the model is one of tokens or samples
            with an adapter, or a part cannot be exported.
    """
    onnxruntime()
    folder = Path(folder)
    if model.of_tokens:
        raise UsageError("a model of tokens", "a model of numbers", 'um.recipe.autoencoder(latents="numbers", ...)')
    with export_folder(model, folder, "onnx") as temporary:
        _write(model, steps, temporary)
    return folder


def _write(model: Model, steps: int | None, folder: Path) -> None:
    denoiser = copy.deepcopy(model.denoiser).cpu().eval()
    jumps = callable(getattr(denoiser, "jump", None))
    noise = rng.RowSeeds.of(0, ROWS)
    x, t = noise.normal((ROWS, *denoiser.shape)), torch.tensor([0.3, 0.8], dtype=torch.float64)
    inputs: dict[str, Tensor] = {"x_t": x, "t": t} | ({"s": t / 2} if jumps else {})
    known = _known(denoiser, noise)
    free = {name: {0: "rows"} for name in (*inputs, *known)}
    free |= {name: {0: "rows", 1: "tokens"} for name in known if name in ("sequence", "sequence_mask")}
    write_graph(_Belief(denoiser, jumps, tuple(known)), inputs | known, "x0", folder / "denoiser.onnx", free)
    codec: Any = copy.deepcopy(model.codec).cpu() if isinstance(model.codec, nn.Module) else model.codec
    with torch.no_grad():
        data = codec.decode(x)
    write_graph(_Encode(codec), {"x": data}, "z", folder / "encoder.onnx", {"x": {0: "rows"}})
    write_graph(_Decode(codec), {"z": x}, "x", folder / "decoder.onnx", {"z": {0: "rows"}})
    grid = model.default_sampler(steps)[1]
    times = grid(denoiser.process.schedule)
    level = denoiser.process.level(times)
    about = {
        "shape": list(denoiser.shape),
        "data_shape": list(data.shape[1:]),
        "classes": list(model.classes),
        "inputs": [*inputs, *known],
        "times": times.tolist(),
        "alpha": level.alpha.tolist(),
        "sigma": level.sigma.tolist(),
    }
    write_json(folder / "sampling.json", about)


def _known(denoiser: Any, noise: rng.RowSeeds) -> dict[str, Tensor]:
    """An example of every condition that the network takes, by the names of the file's inputs."""
    backbone, given = denoiser.backbone, torch.tensor([True, False])
    found: dict[str, Tensor] = {}
    if getattr(backbone, "classes", 0):
        found |= {"label": torch.zeros(ROWS, dtype=torch.int64), "label_given": given}
    if width := getattr(backbone, "vector_width", 0):
        found |= {"vector": noise.normal((ROWS, width)), "vector_given": given}
    if width := getattr(backbone, "sequence_width", 0):
        real = torch.ones(ROWS, TOKENS, dtype=torch.bool)
        real[1] = False
        found |= {"sequence": noise.normal((ROWS, TOKENS, width)), "sequence_mask": real}
    if channels := getattr(backbone, "context_channels", 0):
        found |= {"context": noise.normal((ROWS, channels, *denoiser.shape[1:])), "context_given": given}
    if getattr(denoiser, "guidance_range", None) is not None:
        found["guidance_scale"] = torch.tensor([1.0, 2.0])
    return found


class _Belief(nn.Module):
    """The denoiser with its condition as plain arguments."""

    def __init__(self, denoiser: nn.Module, jumps: bool, names: tuple[str, ...]) -> None:
        super().__init__()
        self.denoiser, self.jumps, self.names = denoiser, jumps, names

    def forward(self, x_t: Tensor, *inputs: Tensor) -> Tensor:
        times, values = inputs[: 1 + self.jumps], dict(zip(self.names, inputs[1 + self.jumps :], strict=True))
        given = {name: values.pop(f"{name}_given") for name in tuple(values) if f"{name}_given" in values}
        condition = Condition(**values, given=given) if values else None  # type: ignore[arg-type]
        denoiser: Any = self.denoiser
        mean: Tensor = (denoiser.jump if self.jumps else denoiser)(x_t, *times, condition).mean
        return mean


class _Encode(nn.Module):
    """What a codec does to data; of a codec that draws latents, their mean."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, x: Tensor) -> Tensor:
        return self.codec.encode(x)


class _Decode(nn.Module):
    """What a codec does to samples."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, z: Tensor) -> Tensor:
        return self.codec.decode(z)
