"""The folder of a pipeline that diffusers saved: model_index.json, and a folder for each of its parts.

Parts are named by their class. A class that is not in the pipeline's table is refused by its name: nothing that comes
with a folder is executed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unmelt.errors import UsageError
from unmelt.interop.diffusers_files import read_json
from unmelt.interop.network.autoencoder import KINDS as AUTOENCODERS
from unmelt.interop.scheduler.config import CHAINS, FLOWS

INDEX = "model_index.json"

CLIP = {"text_encoder": ("CLIPTextModel",), "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast")}

CLIP_2 = {"text_encoder_2": ("CLIPTextModelWithProjection",), "tokenizer_2": CLIP["tokenizer"]}

QWEN = {"text_encoder": ("Qwen3ForCausalLM", "Qwen3Model"), "tokenizer": ("Qwen2Tokenizer", "Qwen2TokenizerFast")}

PARTS: dict[str, dict[str, tuple[str | None, ...]]] = {
    "DDPMPipeline": {"unet": ("UNet2DModel",), "scheduler": CHAINS},
    "DDIMPipeline": {"unet": ("UNet2DModel",), "scheduler": CHAINS},
    "DiTPipeline": {"transformer": ("DiTTransformer2DModel",), "vae": AUTOENCODERS, "scheduler": CHAINS},
    "StableDiffusionPipeline": {
        "unet": ("UNet2DConditionModel",),
        "vae": AUTOENCODERS,
        "scheduler": CHAINS,
        **CLIP,
    },
    "StableDiffusionXLPipeline": {
        "unet": ("UNet2DConditionModel",),
        "vae": AUTOENCODERS,
        "scheduler": CHAINS,
        **CLIP,
        **CLIP_2,
    },
    "StableDiffusion3Pipeline": {
        "transformer": ("SD3Transformer2DModel",),
        "vae": AUTOENCODERS,
        "scheduler": FLOWS,
        "text_encoder": CLIP_2["text_encoder_2"],
        "tokenizer": CLIP["tokenizer"],
        **CLIP_2,
        "text_encoder_3": ("T5EncoderModel", None),
        "tokenizer_3": ("T5Tokenizer", "T5TokenizerFast", None),
    },
    "Flux2KleinPipeline": {
        "transformer": ("Flux2Transformer2DModel",),
        "vae": ("AutoencoderKLFlux2",),
        "scheduler": FLOWS,
        **QWEN,
    },
    "ZImagePipeline": {
        "transformer": ("ZImageTransformer2DModel",),
        "vae": AUTOENCODERS,
        "scheduler": FLOWS,
        **QWEN,
    },
}
"""The parts of each pipeline, and the classes that each may be of; None where it may be missing."""

LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder", "watermark")
"""Parts that make no pictures."""


def read_index(folder: Path) -> dict[str, Any]:
    """Read the index of a pipeline, and see that its parts are there and of known classes.

    Args:
        folder: The pipeline's folder.

    Returns:
        The content of model_index.json.

    Raises:
        UsageError: If it is no pipeline, or one of a class that is not supported, or a part is missing or of a class
            that is not in the table.
    """
    index = read_index_alone(folder)
    kind = str(index["_class_name"])
    for name in PARTS[kind]:
        if isinstance(index.get(name), list) and index[name] != [None, None] and not (folder / name).is_dir():
            raise UsageError(f"there is no {folder / name}", f"the part {name} of a {kind}", "the whole pipeline")
    return index


def read_index_alone(folder: Path) -> dict[str, Any]:
    """Read the index of a pipeline whose parts are not there yet, and see that they are of known classes.

    Args:
        folder: The folder of model_index.json.

    Returns:
        Its content.

    Raises:
        UsageError: As `read_index`, but for parts that are missing.
    """
    index = read_json(folder / INDEX)
    kind = str(index.get("_class_name"))
    if kind not in PARTS:
        raise UsageError(f"{folder} holds a {kind}", f"one of {', '.join(PARTS)}", "another pipeline")
    for name, value in index.items():
        is_part = isinstance(value, list) and len(value) == 2
        if is_part and value != [None, None] and name not in (*PARTS[kind], *LEFT_OUT):
            raise UsageError(f"a {kind} with the part {name}", f"{', '.join(PARTS[kind])}", "another pipeline")
    for name in PARTS[kind]:
        _check_part(folder, kind, name, index)
    return index


def _check_part(folder: Path, kind: str, name: str, index: Mapping[str, Any]) -> None:
    known, found = [each for each in PARTS[kind][name] if each], index.get(name)
    if not isinstance(found, list) or len(found) != 2 or not all(isinstance(each, str) for each in found):
        if found in (None, [None, None]) and None in PARTS[kind][name]:
            return
        said = json.dumps(found)[:60]
        raise UsageError(
            f"{folder / INDEX} says of the part {name}: {said}", f"a {' or a '.join(known)}", "the whole pipeline"
        )
    if found[0] not in ("diffusers", "transformers") or found[1] not in known:
        raise UsageError(
            f"{folder} has the part {name} of class {'.'.join(found)}",
            f"a {' or a '.join(known)}; no code that comes with a pipeline is run",
            "another pipeline",
        )
