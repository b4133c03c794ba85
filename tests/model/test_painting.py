"""Pictures made anew in part: against the exact conditional law, and what must come back exactly."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import unmelt as um
from unmelt import inverse
from unmelt.backbone import DiT, JointDiT, UNet
from unmelt.denoiser import Mixture, NetworkDenoiser, TokenDenoiser, prediction
from unmelt.model import painting
from unmelt.model.mask import mask_rows
from unmelt.model.seam import filled
from unmelt.process import Gaussian
from unmelt.rng import Stream, seeded

F64 = torch.float64
SIDE = 4
LEFT = torch.zeros(SIDE, SIDE, dtype=torch.bool)
LEFT[:, :2] = True


class Exact(nn.Module):
    """An exact denoiser where a model needs a module."""

    def __init__(self, mixture):
        super().__init__()
        self.mixture, self.process, self.shape, self.data_sd = mixture, mixture.process, mixture.shape, 1.0
        self.backbone = nn.Linear(1, 1)  # a model has weights

    def forward(self, x_t, t, condition=None):
        return self.mixture(x_t, t, condition)


def model_of(denoiser, codec=um.codec.Affine(), grid=um.grid.balanced(20)):
    return um.Model(denoiser=denoiser, codec=codec, grid=grid, modality=um.modality.Images())


@pytest.fixture(scope="module")
def mixture():
    """Three overlapping Gaussians of pictures [1, 4, 4], whose pixels depend on one another."""
    draw = torch.Generator().manual_seed(0)
    dim = SIDE * SIDE
    roots = torch.randn(3, dim, dim, dtype=F64, generator=draw) / dim**0.5
    means = 0.7 * torch.randn(3, 1, SIDE, SIDE, dtype=F64, generator=draw)
    process = Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
    return Mixture(means, roots @ roots.mT + 0.02 * torch.eye(dim), process, torch.tensor([0.5, 0.3, 0.2], dtype=F64))


@pytest.fixture(scope="module")
def pictures():
    """Of three colours and 8 pixels a side."""
    return Stream(3).uniform((3, 3, 8, 8))


def network(backbone, shape=(3, 8, 8)):
    process = Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
    return NetworkDenoiser(backbone, process, prediction.Preconditioned(0.5), shape, 0.5)


@pytest.fixture(scope="module")
def unet():
    with seeded(0):
        backbone = UNet(channels=3, width=8, multipliers=(1, 2), blocks=1, attention=(False, False), classes=2)
        for parameter in backbone.parameters():
            nn.init.normal_(parameter, std=0.1)
    model = model_of(network(backbone), um.codec.Affine.images())
    model.classes = ("cat", "dog")
    return model


def moments(mixture):
    mean = mixture.weights @ mixture.means
    gap = mixture.means - mean
    within = mixture.basis * mixture.spread[:, None] @ mixture.basis.mT
    return mean, torch.einsum("k,kde->de", mixture.weights, within + gap[:, :, None] * gap[:, None])


def test_inpainted_pictures_have_the_law_of_the_rest_given_what_is_known(mixture, monkeypatch):
    """Energy distance to exact draws, over that of the unconditional law: below 0.15 (0.07; replacement alone 0.42)."""
    model, each = model_of(Exact(mixture)), 40
    x = mixture.sample(4, Stream(1), F64).float()
    truths = [inverse.exact(mixture, inverse.Inpainting(~LEFT[None]), one[:, ~LEFT], 0.0) for one in x]
    drawn = [truth.sample(each, Stream(9 + k), F64).flatten(1) for k, truth in enumerate(truths)]

    def distance(made):
        rows = made.double().flatten(1).split(each)
        return sum(um.metric.energy_distance(mine, true) for mine, true in zip(rows, drawn, strict=True)) / len(drawn)

    many = x.repeat_interleave(each, 0)
    free = torch.where(LEFT, model.sample(len(many)), many)
    made = model.inpaint(many, LEFT)
    monkeypatch.setattr(painting, "hold", lambda denoiser, z, known, data_sd: inverse.Replacement(denoiser, z, known))
    replaced = model.inpaint(many, LEFT, resamples=0)
    assert distance(made) < 0.15 * distance(free)
    assert distance(made) < 0.4 * distance(replaced)


def test_one_known_pixel_does_not_widen_the_law_of_the_rest(mixture):
    """A residual that is small by chance would throw rows far away, if it alone set the size of a step."""
    model, known = model_of(Exact(mixture)), torch.zeros(SIDE, SIDE, dtype=torch.bool)
    known[1, 2] = True
    x = mixture.sample(1, Stream(2), F64).float()
    _, covariance = moments(inverse.exact(mixture, inverse.Inpainting(known[None]), x[0][:, known], 0.0))
    made = model.inpaint(x.expand(300, 1, 4, 4), ~known).double().flatten(1)
    assert 0.8 < made.var(0).sum() / covariance.trace() < 1.2


def test_known_pixels_come_back_exactly_and_the_others_are_new(unet, pictures):
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:6, 3:7] = True
    made = unet.inpaint(pictures, mask, label="cat", steps=3)
    assert torch.equal(made[..., ~mask], pictures[..., ~mask])
    assert (made[..., mask] != pictures[..., mask]).float().mean() > 0.9
    assert torch.equal(made, unet.inpaint(pictures, mask, label=0, steps=3))
    assert not torch.equal(made, unet.inpaint(pictures, mask, label="dog", steps=3))


def test_what_a_mask_covers_has_no_influence(unet, pictures):
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:6, 3:7] = True
    other = torch.where(mask, 1 - pictures, pictures)
    assert torch.equal(unet.inpaint(pictures, mask, steps=2), unet.inpaint(other, mask, steps=2))
    assert not torch.equal(
        unet.inpaint(pictures, mask, steps=2, strength=0.3), unet.inpaint(other, mask, steps=2, strength=0.3)
    )


def test_an_empty_mask_changes_nothing_and_a_full_one_samples(unet, pictures):
    assert torch.equal(unet.inpaint(pictures, torch.zeros(8, 8)), pictures)
    made = unet.inpaint(pictures, torch.ones(8, 8), label=1, steps=3, seed=5, guidance=2.0)
    assert torch.equal(made, unet.sample(3, label=1, steps=3, seed=5, guidance=2.0))


def test_pictures_of_a_batch_with_masks_of_their_own_come_out_as_alone(unet, pictures):
    masks = torch.stack([torch.zeros(8, 8), torch.ones(8, 8), torch.eye(8)])
    x, masks = torch.cat([pictures, pictures]), torch.cat([masks, masks.flip(2)])
    together = unet.inpaint(x, masks, steps=2, seed=range(6), guidance=[1.0, 2.0] * 3, label=[0, 1] * 3)
    for row in range(6):
        alone = unet.inpaint(
            x[row : row + 1], masks[row], steps=2, seed=[row], guidance=[1.0 + row % 2], label=[row % 2]
        )
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-4)


def test_between_0_and_1_a_mask_mixes(unet, pictures):
    mask = torch.linspace(0, 1, 8).expand(8, 8)
    whole = unet.inpaint(pictures, mask > 0, steps=2)
    torch.testing.assert_close(
        unet.inpaint(pictures, mask, steps=2), torch.lerp(pictures, whole, mask.expand(3, 1, 8, 8))
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda mask: mask,
        lambda mask: mask[None],
        lambda mask: mask.expand(3, 8, 8),
        lambda mask: mask.expand(3, 1, 8, 8),
        lambda mask: mask.numpy(),
        lambda mask: mask.double().tolist(),
        lambda mask: mask.byte(),
        lambda mask: mask.byte() * 255,
        lambda mask: Image.fromarray(mask.numpy()),
        lambda mask: Image.fromarray(mask.numpy().astype(np.uint8) * 255).convert("RGB"),
        lambda mask: [Image.fromarray(mask.numpy().astype(np.uint8) * 255).convert("RGB")] * 3,
    ],
)
def test_masks_of_any_kind_are_the_same_mask(change, pictures):
    mask = torch.eye(8, dtype=torch.bool)
    assert torch.equal(mask_rows(change(mask), pictures), mask.float().expand(3, 1, 8, 8))


@pytest.mark.parametrize(
    ("mask", "word"),
    [
        (torch.ones(4, 4), "one mask of 8 x 8 pixels"),
        (torch.ones(2, 8, 8), "each of 3 pictures"),
        (torch.ones(3, 3, 8, 8), "8 x 8"),
        (torch.full((8, 8), 2.0), "from 0"),
        (torch.full((8, 8), float("nan")), "from 0"),
        (torch.full((8, 8), 300), "from 0"),
        ([[1, 2], [1]], "a mask of the pictures' size"),
    ],
)
def test_other_masks_are_refused(unet, pictures, mask, word):
    with pytest.raises(um.UsageError, match=word):
        unet.inpaint(pictures, mask)


def test_other_models_and_numbers_are_refused(unet, pictures):
    ring = um.recipe.ring(steps=1, width=8, depth=1)
    mask = torch.eye(8)
    for call, word in (
        (lambda: ring.inpaint(torch.zeros(1, 2), torch.zeros(1, 2)), "a model of images"),
        (lambda: ring.outpaint(torch.zeros(1, 2), left=1), "a model of images"),
        (lambda: unet.inpaint(pictures[:, :1], mask), "shape"),
        (lambda: unet.inpaint(pictures, mask, strength=0.0), "strength=0"),
        (lambda: unet.inpaint(pictures, mask, resamples=-1), "resamples=-1"),
        (lambda: unet.inpaint(pictures, mask, mask_image=mask), "mask"),
        (lambda: unet.outpaint(pictures), "pixels to add"),
        (lambda: unet.outpaint(pictures, left=-1), "none below 0"),
        (
            lambda: unet.outpaint(pictures, left=4096, right=4090),
            "8 x 8,194 pixels; .* at most 8,192 pixels. Try: right=8",
        ),
        (lambda: unet.outpaint(pictures, bottom=10**12), "at most 8,192"),
        (lambda: unet.variations(pictures), "one picture"),
        (lambda: unet.variations(pictures[:1], rows=0), "rows=0"),
    ):
        with pytest.raises(um.UsageError, match=word):
            call()


def test_variations_are_edits_of_one_picture(unet, pictures):
    made = unet.variations(pictures[:1], rows=3, strength=0.4, steps=2, seed=1, label=1)
    assert torch.equal(made, unet.edit(pictures[:1].expand(3, 3, 8, 8), strength=0.4, steps=2, seed=1, label=1))
    assert not torch.equal(made[0], made[1])


@pytest.mark.parametrize("backbone", [UNet, JointDiT])
def test_outpainting_keeps_the_picture_and_makes_the_rest_of_a_larger_canvas(unet, pictures, backbone):
    model = unet
    if backbone is JointDiT:
        with seeded(0):
            model = model_of(network(JointDiT(channels=3, space=2, patch=2, width=16, depth=1, heads=2)))
    made = model.outpaint(pictures, left=2, right=4, top=2, steps=2)
    assert made.shape == (3, 3, 10, 14)
    assert torch.equal(made[:, :, 2:, 2:10], pictures)
    assert made.isfinite().all()
    if backbone is JointDiT:
        with pytest.raises(um.UsageError, match="a multiple of 2"):
            model.outpaint(pictures, left=3)


def test_a_network_of_one_size_refuses_a_larger_canvas(pictures):
    model = model_of(network(DiT(channels=3, size=(8, 8), patch=2, width=16, depth=1, heads=2)))
    with pytest.raises(um.UsageError, match="8x8 pixels alone"):
        model.outpaint(pictures, left=4)


def test_filling_continues_the_known_pixels():
    x = torch.linspace(0, 1, 16).expand(2, 3, 16, 16).clone()
    known = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    known[0, :, 4:8, 4:8] = False
    known[1] = False
    made = filled(torch.where(known, x, torch.nan), known)
    assert torch.equal(made[0][:, known[0, 0]], x[0][:, known[0, 0]])
    assert (made[0] - x[0]).abs().max() < 0.3  # of values from 0 to 1, the square spans 0.2, and its surroundings 0.33
    assert (made[1] == 0).all()


class Halved:
    """A codec of half the sides whose decoder is wrong by a tenth."""

    def encode(self, x, rng=None):
        return nn.functional.avg_pool2d(2 * x - 1, 2)

    def decode(self, z):
        return (nn.functional.interpolate((z + 1) / 2, scale_factor=2.0) + 0.1).clamp(0, 1)

    def latent_shape(self, shape):
        return (shape[0], shape[1] // 2, shape[2] // 2)


def test_in_latents_known_pixels_are_exact_and_there_is_no_seam():
    """Picture and belief are flat: with a seam, there would be a jump by a tenth at the border."""
    flat = Mixture.isotropic(torch.zeros(1, 3, 8, 8), 1e-3, Gaussian(um.schedule.VarianceExploding(0.002, 80.0)))
    model = model_of(Exact(flat), Halved())
    x = torch.full((2, 3, 16, 16), 0.5)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[3:13, 5:16] = True  # whose latents reach one pixel further than it
    made = model.inpaint(x, mask, steps=4)
    assert torch.equal(made[..., ~mask], x[..., ~mask])
    assert (made[..., 3:13, 5] - 0.5).abs().max() < 0.01
    assert (made[..., 8, 12] - 0.6).abs().max() < 0.01
    assert torch.equal(model.inpaint(x, torch.ones(16, 16), steps=4), model.sample(2, steps=4))


def test_a_canvas_on_which_no_latent_is_known_is_of_its_own_size():
    with seeded(0):
        backbone = UNet(channels=3, width=8, multipliers=(1,), blocks=1, attention=(False,))
    model = model_of(network(backbone, (3, 1, 1)), Halved())
    x = torch.full((1, 3, 2, 2), 0.5)
    made = model.outpaint(x, left=1, right=1, steps=2)
    assert made.shape == (1, 3, 2, 4)
    assert torch.equal(made[..., 1:3], x)


def test_known_tokens_stay_and_the_others_are_drawn():
    with seeded(0):
        codec = um.codec.QuantizedAutoencoder(levels=(4, 4), widths=(8, 16), blocks=(0, 0))
        backbone = um.backbone.Transformer(input_vocabulary=17, vocabulary=16, length=16, width=16, depth=1, heads=2)
    denoiser = TokenDenoiser(backbone, um.process.Mask(16), (4, 4))
    model = model_of(denoiser, codec, um.grid.uniform(4))
    x = Stream(0).uniform((2, 3, 16, 16))
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:, :6] = True
    seen = []
    decode = codec.decode
    codec.decode = lambda z: seen.append(z) or decode(z)
    made = model.inpaint(x, mask, steps=4)
    assert torch.equal(made[..., ~mask], x[..., ~mask])
    kept = codec.encode(filled(x, ~mask.expand(2, 1, 16, 16)))
    assert torch.equal(seen[-1][..., 2:], kept[..., 2:])
    assert not torch.equal(seen[-1][..., :2], kept[..., :2])
    with pytest.raises(um.UsageError, match="model of tokens"):
        model.inpaint(x, mask, strength=0.5)


def test_a_student_that_jumps_is_refused(pictures):
    with seeded(0):
        backbone = UNet(channels=3, width=8, multipliers=(1,), blocks=1, attention=(False,), with_arrival=True)
    process = Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
    student = um.denoiser.FlowMap(backbone, process, prediction.Preconditioned(0.5), (3, 8, 8), 0.5)
    with pytest.raises(um.UsageError, match="distilled from"):
        model_of(student).inpaint(pictures, torch.eye(8))
