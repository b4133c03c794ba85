"""Evaluation of models of numbers: samples compared with held-out data, and log-likelihoods."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from unmelt import metric
from unmelt.codec import Bijection
from unmelt.condition import Condition
from unmelt.data import CaptionReader
from unmelt.errors import UsageError
from unmelt.likelihood import Estimate, Exact, Hutchinson, log_likelihood
from unmelt.model.judging import note_other_data
from unmelt.model.request import check_rows
from unmelt.model.timed_samples import labels_in_proportion, sample_for
from unmelt.rng import RowSeeds
from unmelt.train import distributed

if TYPE_CHECKING:
    from unmelt.model.model import Model

MOST_CONTROLLED = 512
"""Held-out pictures whose control pictures samples are asked to follow."""

FEW_DIMENSIONS = 16
"""Rows of up to this many numbers have their divergence computed exactly; longer ones, by random probes."""


def evaluate(
    model: Model, samples: int | None, minutes: float | None, steps: int | None, guidance: float, seed: int
) -> dict[str, Any]:
    """Compare samples with held-out data; see `Model.evaluate`.

    Args:
        model: The model.
        samples: How many to make. None: as many as the kind of data needs.
        minutes: Time to sample for, where no number is given. None: as long as it takes.
        steps: Number of sampling steps.
        guidance: Scale of classifier-free guidance.
        seed: Seed of the samples.

    Returns:
        Figures by name, and what was asked for.

    Raises:
        UsageError: If the model has no data to be judged by or too few, or the number of samples or the time is out of
            range.
    """
    if model.source is None or model.held_out is None:
        raise UsageError(
            "a model without data to be judged by", "one made by a recipe", "um.recipe.digits().fit().evaluate()"
        )
    note_other_data(model)
    real, held_out = metric.collect_samples(model.source), metric.collect_samples(model.held_out)
    shapes = [tuple(each.x.shape[1:]) for each in (real, held_out) if torch.is_tensor(each.x)]
    if len(set(shapes)) > 1:
        given = f"held-out pictures of which none has the shape {shapes[0]}, in which the model makes pictures"
        raise UsageError(given, "some that have", "held_out=0.2")
    if min(len(real.x), len(held_out.x)) < 2:
        raise UsageError(
            f"{len(real.x)} rows of training data and {len(held_out.x)} held out, which samples are compared with",
            "at least 2 of each",
            "a recipe with more data, or with another share held out: held_out=0.2",
        )
    wanted = model.modality.samples_to_score(len(real.x)) if samples is None else samples
    check_rows(wanted, "samples")
    label = None if real.labels is None else labels_in_proportion(real.labels, wanted)
    request = model.request(wanted, label=label, steps=steps, guidance=guidance, seed=seed)
    x = sample_for(model, request, minutes if samples is None else None)
    made = metric.SampleSet(x, None if label is None else label[: len(x)])
    scores = distributed.broadcast_from_main(lambda: model.modality.score(made, real, held_out))
    if isinstance(model.held_out, CaptionReader):
        scores |= model.held_out.caption_accuracy(
            lambda captions: model.sample(len(captions), caption=captions, steps=steps, guidance=guidance, seed=seed)
        )
    if model.control is not None:
        scores |= _control_scores(model, held_out, steps, guidance, seed)
    taken = model.default_sampler(steps, guidance)[1].steps
    return {**scores, "samples": len(x), "steps": taken, "guidance": guidance, "seed": seed}


def _control_scores(
    model: Model, held_out: metric.SampleSet, steps: int | None, guidance: float, seed: int
) -> dict[str, float]:
    """How well samples follow control pictures of held-out pictures, and how well those of other pictures."""
    x, labels = held_out.x[:MOST_CONTROLLED], held_out.labels
    asked = model.control_of(x)
    label = None if labels is None else labels[: len(x)]
    made = model.sample(len(x), label=label, control=asked, steps=steps, guidance=guidance, seed=seed)
    found = model.control_of(made)
    others = asked[(torch.arange(len(x)) + 1 + len(x) // 3) % len(x)]
    pairs = {"control_agreement": asked, "control_agreement_shuffled": others}
    return {name: metric.control_agreement(found, each).mean().item() for name, each in pairs.items()}


def density(
    model: Model, x: Tensor, condition: Condition | None, space: Literal["data", "latent"], probes: int, seed: int
) -> Estimate:
    """log p(x) of each row; see `Model.log_likelihood`.

    Args:
        model: The model.
        x: [rows, *shape], in data space.
        condition: What is known of each row.
        space: Where the density is.
        probes: Random directions of each row.
        seed: Seed of the directions.

    Returns:
        Values [rows] in nats and their standard errors [rows].

    Raises:
        UsageError: If densities of data are asked for through a lossy codec, or there are fewer than two probes.
    """
    if space == "data" and not isinstance(model.codec, Bijection):
        raise UsageError(
            f"a density of data through a {type(model.codec).__name__}, which is not a bijection",
            "the density of the latents",
            'model.log_likelihood(x, space="latent")',
        )
    if probes < 2:
        raise UsageError(f"probes={probes}", "at least 2, to tell a standard error", "probes=8")
    z, size = model.encode(x), math.prod(model.denoiser.shape)
    divergence = Exact() if size <= FEW_DIMENSIONS else Hutchinson(RowSeeds.of(seed, len(z)), probes)
    known = None if condition is None else condition.to(model.device)
    with model.active_adapter_on():
        found = log_likelihood(model.denoiser, z, known, divergence=divergence)
    return found._replace(value=found.value + model.codec.log_det(size)) if space == "data" else found
