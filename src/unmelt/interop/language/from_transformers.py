"""Language models of `transformers` as text models: masked ones, and diffusion models of known layouts.

What such a network believes at a mask given all other tokens is all that masked diffusion asks for, however it was
trained; so every verb works: sampling between prompt and suffix, infilling, scoring, bounds on likelihoods. Masked
language models were trained with few masks, and are best where most of a text is known.
"""

from pathlib import Path

from unmelt.arguments import checked
from unmelt.denoiser import TokenDenoiser
from unmelt.errors import UsageError
from unmelt.interop.language.canvas import CANVAS, CanvasDenoiser, read_canvas_model
from unmelt.interop.language.files import language_folder
from unmelt.interop.language.layouts import LAYOUTS
from unmelt.interop.language.model import read_language_model
from unmelt.model import TextModel
from unmelt.objective import NELBO, AnyOrder
from unmelt.process import Mask, Uniform
from unmelt.sampler import Ancestral, grid
from unmelt.sampler.tokens import Confidence, Unmask

STEPS = 64
"""Largest number of steps of the grid."""


@checked("um.interop.from_transformers")
def from_transformers(
    folder: str | Path, *, length: int | None = None, special_tokens_in_text: bool = False
) -> TextModel:
    """Load a masked or diffusion language model from the local disk as a text model.

    Args:
        folder: A folder with config.json, safetensors weights and a tokenizer, of any class of transformers that ends
            in "ForMaskedLM", or of LLaDA, Dream or DiffusionGemma. Nothing is downloaded, and no code in it is run.
        length: Tokens of the longest row. None: 256, or as many as the model has positions for.
        special_tokens_in_text: Whether names of special tokens in a text, such as those of a chat's turns, are read as
            those tokens. False: they are text like any other.

    Returns:
        The model. `save` writes a run folder, which no longer needs this one.

    Raises:
        UsageError: If there is no such model, it is causal or of an unknown class, or its files are damaged.
    """
    place = language_folder(folder, {**LAYOUTS, CANVAS: None})
    if place.architecture == CANVAS:
        network, tokenizer = read_canvas_model(place, length, special_tokens_in_text)
        noise = Uniform(tokenizer.vocabulary)
        return TextModel(
            denoiser=CanvasDenoiser(network, noise, (network.length,)),
            codec=tokenizer,
            sampler=Ancestral(),
            grid=grid.uniform(min(network.length, STEPS)),
            objective=NELBO(),
            notes=f"{CANVAS} of {Path(folder).name}",
        )
    found = read_language_model(folder, length=length, special_tokens_in_text=special_tokens_in_text)
    if found.is_causal:
        raise UsageError(
            f"{folder} holds a {found.network.architecture}, which attends to earlier tokens only",
            "a masked or diffusion language model; training turns this one into a diffusion model",
            f"um.recipe.text(start={str(folder)!r}, folder='books').fit(out='runs/books')",
        )
    masks = Mask(found.tokenizer.vocabulary)
    return TextModel(
        denoiser=TokenDenoiser(found.network, masks, (found.network.length,)),
        codec=found.tokenizer,
        sampler=Unmask(Confidence()),
        grid=grid.uniform(min(found.network.length, STEPS)),
        objective=AnyOrder(padding=found.tokenizer.padding),
        notes=f"{found.network.architecture} of {Path(folder).name}",
    )
