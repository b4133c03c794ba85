"""Painting and editing through a trained autoencoder: what is known is as good as it decodes, what is new fits it.

Pictures are flat gradients of random colours, so that a part of one determines the rest. Their latents are nearly
Gaussian, and the denoiser is that of a Gaussian fitted to them.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import unmelt as um
from unmelt.codec import Autoencoder
from unmelt.denoiser.gaussian_mixture import GaussianMixtureDenoiser
from unmelt.model import CodecModel
from unmelt.objective import Reconstruction
from unmelt.rng import Stream, seeded
from unmelt.train import Training
from unmelt.train.lr_schedule import Cosine

SIDE, PLACE = 16, 4
MASKS = {
    "whole places": (slice(4, 12), slice(4, 12)),
    "parts of places": (slice(5, 11), slice(3, 10)),
    "one pixel": (slice(6, 7), slice(9, 10)),
}


class Plain(nn.Module):
    """A denoiser alone, where a mixture could do more."""

    def __init__(self, mixture):
        super().__init__()
        self.mixture, self.process, self.shape, self.data_sd = mixture, mixture.process, mixture.shape, 1.0
        self.backbone = nn.Linear(1, 1)  # a model has weights

    def forward(self, x_t, t, condition=None):
        return self.mixture(x_t, t, condition)


def gradients(rows, seed):
    draws, at = Stream(seed), (torch.arange(SIDE) + 0.5) / SIDE - 0.5
    colour, across, down = (draws.uniform((rows, 3, 1, 1)) for _ in range(3))
    return 0.25 + 0.5 * colour + 0.4 * (across - 0.5) * at + 0.4 * (down - 0.5) * at[:, None]


@pytest.fixture(scope="module")
def model():
    x = gradients(512, 0)
    with seeded(0):
        codec = Autoencoder(patch=PLACE, widths=(16,), blocks=(1,))
    training = Training(steps=200, batch=16, lr=2e-2, ema=0.9, lr_schedule=Cosine(warmup=10), picture_every=0)
    objective = Reconstruction(kl=1e-6, perceptual=0.0)
    CodecModel(codec=codec, objective=objective, training=training, source=um.data.Arrays(x)).fit(None, "cpu", True)
    process = um.process.Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
    with torch.no_grad():
        gaussian = GaussianMixtureDenoiser(process, (4, 4, 4), 0, 1, 0.0).fit(codec.encode(x), None)
    return um.Model(denoiser=Plain(gaussian), codec=codec, grid=um.grid.balanced(20), modality=um.modality.Images())


def inpainted(model, x, mask, **settings):
    """The result, and the latents and the picture of which it is composed."""
    seen, decode = [], model.codec.decode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.codec, "decode", lambda z: seen.append((z, decode(z))) or seen[-1][1])
        made = model.inpaint(x, mask, **settings)
    return made, *seen[-1]


@pytest.mark.parametrize("kind", MASKS)
def test_what_is_known_decodes_as_it_would_alone_and_what_is_new_fits_it(model, kind):
    x, mask = gradients(16, 9), torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[MASKS[kind]] = True
    alone = model.decode(model.encode(x)).cpu()
    made, z, decoded = inpainted(model, x, mask, seed=1)

    def error(pictures, where):
        return (pictures - x)[..., where].square().mean().sqrt()

    assert error(alone, ~mask) < 0.03
    assert torch.equal(made[..., ~mask], x[..., ~mask])
    assert error(decoded, ~mask) < 1.05 * error(alone, ~mask)
    assert error(made, mask) < 1.3 * error(alone, mask)
    assert error(model.sample(16, seed=1), mask) > 5 * error(made, mask)
    # Places of which any pixel is masked are new; all others are held, whatever the mask is inside of a place.
    new = F.max_pool2d(mask[None].float(), PLACE)[0] > 0
    known = model.encode(um.model.seam.filled(x, ~mask.expand(16, 1, SIDE, SIDE)))
    assert torch.equal(z[..., ~new], known[..., ~new])
    assert (z[..., new] != known[..., new]).all()


@pytest.mark.parametrize("kind", MASKS)
def test_what_a_mask_covers_has_no_influence_within_a_place(model, kind):
    x, mask = gradients(2, 9), torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[MASKS[kind]] = True
    other = torch.where(mask, 1 - x, x)
    assert torch.equal(model.inpaint(x, mask, steps=3), model.inpaint(other, mask, steps=3))


def test_there_is_no_seam(model):
    """Neighbours across the border differ no more than neighbours in the pictures, but for what decoding gets wrong."""
    x, mask = gradients(16, 9), torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[MASKS["parts of places"]] = True
    made = model.inpaint(x, mask, seed=1)
    jump = made.diff(dim=-1) - x.diff(dim=-1)
    border = mask.int().diff(dim=-1) != 0
    alone = torch.where(mask, model.decode(model.encode(x)).cpu(), x)  # put in place with its seam
    seam = alone.diff(dim=-1) - x.diff(dim=-1)
    assert jump[..., border].square().mean() < 0.5 * seam[..., border].square().mean()


def test_little_noise_changes_a_picture_as_little_as_decoding_does(model):
    x = gradients(16, 9)
    alone = (model.decode(model.encode(x)).cpu() - x).square().mean().sqrt()
    errors = [(model.edit(x, strength=each, seed=0) - x).square().mean().sqrt() for each in (0.01, 0.1, 1.0)]
    assert errors[0] < 1.05 * alone
    assert errors[1] < 1.2 * alone
    assert errors[2] > 5 * alone
    noised = model.inpaint(x, torch.ones(SIDE, SIDE), strength=0.1, seed=0)
    assert (noised - x).square().mean().sqrt() < 1.2 * alone
    versions = model.variations(x[:1], rows=8, strength=1.0, seed=0)
    assert versions.std(0).mean() > 0.05
