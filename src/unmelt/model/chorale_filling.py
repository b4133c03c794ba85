"""The voices and moments that a chorale lacks: harmonise a melody, infill a voice, go on.

A piece longer than the model's window is filled window by window. Each begins half a window after the one before, knows
what that has filled, and is kept for three quarters of its length: whatever is kept was made in view of what comes.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.arguments import checked
from unmelt.condition import Condition
from unmelt.data.chorale_grid import REST, UNKNOWN, VOICES, excerpt
from unmelt.errors import UsageError
from unmelt.guidance import AllowedTokens, Temperature
from unmelt.modality import Chorales
from unmelt.model.request import DenoiserTransform, SampleRequest
from unmelt.model.text_model import TextModel
from unmelt.rng import Seed, fold
from unmelt.sampler import Sampler


@checked("um.fill_chorale")
def fill_chorale(
    model: TextModel,
    grid: Int64[Tensor, "*rows moments voices"],
    *,
    steps: int | None = None,
    temperature: float = 1.0,
    seed: Seed = 0,
    sampler: Sampler | None = None,
) -> Int64[Tensor, "*rows moments voices"]:
    """Fill what is unknown in chorales, in view of all that is known.

    Args:
        model: A model of `um.recipe.chorales`.
        grid: Tokens [moments, 4], or [rows, moments, 4] of several pieces; -1 where one is unknown.
        steps: Steps of the grid of times, for each window. None: the model's own.
        temperature: 1 draws from the model's own belief, 0 takes its likeliest token.
        seed: One for all pieces, or one for each.
        sampler: Replaces the model's sampler.

    Returns:
        The tokens, the known ones unchanged.

    Raises:
        UsageError: If it is no model of chorales, or the tokens are none of its own.
    """
    if not isinstance(model.modality, Chorales):
        needed = "a model of chorales"
        raise UsageError(f"a model of {model.modality.name}", needed, 'um.recipe.chorales().fit(out="runs/chorales")')
    if grid.shape[-1] != VOICES or grid.ndim not in (2, 3) or not grid.shape[-2]:
        raise UsageError(f"a grid of shape {tuple(grid.shape)}", "[moments, 4], or [rows, moments, 4]", "grid")
    if int(grid.min()) < UNKNOWN or int(grid.max()) > REST:
        given = f"tokens from {int(grid.min())} to {int(grid.max())}"
        raise UsageError(given, f"tokens from 0 to {REST}, and -1 for unknown ones", "grid[:, 1:] = -1")
    pieces = grid.reshape(-1, *grid.shape[-2:]).clone()
    rows, moments = pieces.shape[:2]
    window = min(moments, model.length // VOICES)
    seeds = SampleRequest(rows=rows, seed=seed).seeds
    allowed = torch.arange(model.tokenizer.vocabulary) <= REST
    transforms: list[DenoiserTransform] = [lambda denoiser: AllowedTokens(denoiser, allowed)]
    if temperature != 1:
        transforms.append(lambda denoiser: Temperature(denoiser, temperature))
    last = moments - window
    starts = sorted({*range(0, last, max(1, window // 2)), last})
    for number, begin in enumerate(starts):
        known = torch.stack([excerpt(piece, begin, window) for piece in pieces])
        end = begin + window if begin == last else begin + 3 * window // 4
        open_places = pieces[:, begin:end] == UNKNOWN
        if not open_places.any():
            continue
        request = SampleRequest(
            rows=rows,
            condition=Condition(known_tokens=known.flatten(1)),
            transforms=tuple(transforms),
            seed=[fold(each, number) for each in seeds],
            steps=steps,
            sampler=sampler,
        )
        made = model.sample_request(request).view(rows, window, VOICES)[:, : end - begin]
        pieces[:, begin:end] = torch.where(open_places, made, pieces[:, begin:end])
    return pieces.view(grid.shape)
