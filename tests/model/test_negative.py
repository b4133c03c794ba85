"""Negative prompts: what guidance moves away from, in place of the null condition, row by row."""

import pytest
import torch
from torch import nn

import unmelt as um
from unmelt.backbone import UNet
from unmelt.condition import Condition
from unmelt.encoder import EncodedVector, HashedCaptionEncoder
from unmelt.encoder.encoder import caption_condition
from unmelt.errors import UsageError

WORDS = HashedCaptionEncoder()


@pytest.fixture(scope="module")
def model():
    with um.rng.seeded(0):
        body = UNet(
            channels=3,
            patch=2,
            width=8,
            multipliers=(1,),
            blocks=1,
            attention=(True,),
            classes=2,
            sequence_width=WORDS.width,
        )
        with torch.no_grad():
            for weight in body.parameters():
                nn.init.normal_(weight, std=0.2)
    process = um.process.Gaussian(um.schedule.Cosine())
    denoiser = um.denoiser.NetworkDenoiser(body, process, um.prediction.V(), (3, 8, 8), 0.5)
    parts = {"codec": um.codec.Affine.images(), "grid": um.grid.balanced(3), "encoder": WORDS}
    return um.Model(denoiser=denoiser, classes=("cat", "dog"), **parts)


def said(words, label=None):
    known = caption_condition(WORDS, words)
    return Condition(label=label, sequence=known.sequence, sequence_mask=known.sequence_mask)


@pytest.mark.parametrize("scales", [3.0, [3.0, 1.0, 2.0]])
def test_guidance_moves_away_from_the_negative_prompt(model, scales):
    def by_hand(denoiser):
        class Away:
            process, shape = denoiser.process, denoiser.shape

            def __call__(self, x_t, t, condition=None):
                rows = len(x_t)
                towards = denoiser(x_t, t, said(["a red cat"] * rows, torch.zeros(rows, dtype=torch.int64))).mean
                away = denoiser(x_t, t, said(["a dog", "grey", ""])).mean
                weight = torch.tensor(scales).view(-1, 1, 1, 1)
                return um.posterior.Point(away + weight * (towards - away))

        return Away()

    known = {"prompt": "a red cat", "label": "cat", "sampler": um.sampler.Euler(), "grid": um.grid.balanced(3)}
    made = model.sample(3, **known, negative=["a dog", "grey", ""], guidance=scales, seed=3)
    assert torch.allclose(made, model.sample(3, **known, guidance=by_hand, seed=3), atol=1e-5)
    assert not torch.allclose(made[0], model.sample(3, **known, guidance=scales, seed=3)[0], atol=1e-3)


def test_without_guidance_nothing_is_moved_away_from(model):
    known = {"prompt": "a red cat", "steps": 2}
    assert torch.equal(model.sample(2, **known, negative="a dog"), model.sample(2, **known))


def test_a_negative_prompt_alone_is_enough(model):
    alone = model.sample(1, negative="a dog", guidance=2.0, steps=2)
    assert not torch.allclose(alone, model.sample(1, steps=2), atol=1e-3)


def test_mistakes_are_named(model):
    with pytest.raises(UsageError, match="2 negatives for 3 rows"):
        model.sample(3, prompt="a cat", negative=["a dog", "grey"], guidance=2.0)
    with pytest.raises(UsageError, match=r"negative='grey' for a model that learned no captions"):
        um.recipe.digits(width=8, steps=1).sample(1, label=3, negative="grey", guidance=2.0)


class WithVector:
    """Words, and as a vector their number."""

    width = WORDS.width

    def __call__(self, captions):
        return WORDS(captions)

    def vectors(self, captions):
        counts = torch.tensor([float(len((each or "").split())) for each in captions])
        return EncodedVector(counts[:, None], counts > 0)


def test_an_encoder_may_make_a_vector_of_a_caption():
    known = caption_condition(WithVector(), ["a red cat", None])
    assert known.vector.tolist() == [[3.0], [0.0]]
    assert known.is_given("vector").tolist() == [True, False]
