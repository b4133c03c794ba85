"""Other sizes: the denoiser sampled in that shape. What cannot be made is refused with a size that can."""

import numpy as np
import pytest
import torch
from torch import nn

import unmelt as um
from unmelt.backbone import DiT, JointDiT, UNet
from unmelt.cli import main
from unmelt.denoiser import NetworkDenoiser
from unmelt.process import Gaussian
from unmelt.rng import seeded


def model_of(backbone):
    process = Gaussian(um.schedule.VarianceExploding(0.002, 80.0))
    with torch.no_grad():
        for parameter in backbone.parameters():
            nn.init.normal_(parameter, std=0.1)
    denoiser = NetworkDenoiser(backbone, process, um.prediction.Preconditioned(0.5), (3, 8, 8), 0.5)
    model = um.Model(denoiser=denoiser, codec=um.codec.Affine.images(), grid=um.grid.balanced(4))
    model.classes = ("cat", "dog")
    return model


@pytest.fixture(scope="module")
def unet():
    with seeded(0):
        return model_of(
            UNet(channels=3, patch=2, width=8, multipliers=(1, 2), blocks=1, attention=(False, False), classes=2)
        )


def test_another_size_is_the_denoiser_sampled_in_that_shape(unet):
    made = unet.sample(3, size=(6, 12), label=1, guidance=2.0, seed=4)
    assert made.shape == (3, 3, 6, 12)
    sampler, grid = unet.default_sampler(None, 2.0)
    guided = um.guidance.CFG(unet.denoiser, 2.0)
    wanted = um.sample(guided, rows=3, shape=(3, 6, 12), label=1, sampler=sampler, grid=grid, seed=4)
    torch.testing.assert_close(made, unet.decode(wanted))
    frames = list(unet.trajectory(3, size=[6, 12], label=1, guidance=2.0, seed=4))
    assert torch.equal(frames[-1].x, made)
    torch.testing.assert_close(unet.sample(2, size=(6, 12), label=1, guidance=2.0, seed=4), made[:2])


def test_the_models_own_size_changes_nothing(unet):
    own = unet.sample(2, seed=1)
    assert torch.equal(unet.sample(2, size=8, seed=1), own)
    assert torch.equal(unet.sample(2, size=(8, 8), seed=1), own)


def test_a_joint_transformer_makes_other_sizes():
    with seeded(0):
        model = model_of(JointDiT(channels=3, space=2, patch=2, width=16, depth=1, heads=2, classes=2))
    assert model.sample(1, size=(4, 10)).shape == (1, 3, 4, 10)


def test_sizes_that_cannot_be_made_are_refused(unet):
    with seeded(0):
        fixed = model_of(DiT(channels=3, size=(8, 8), patch=2, width=16, depth=1, heads=2, classes=2))
    ring = um.recipe.ring(steps=1, width=8, depth=1)
    for model, size, said in (
        (unet, (7, 12), r"multiple of 2 and a width that is one of 2. Try: size=\(8, 12\)"),
        (unet, (8, 8194), r"8 x 8,194 pixels; .* at most 8,192 pixels. Try: size=\(8, 8\)"),
        (unet, 10**9, "at most 8,192 pixels"),
        (unet, 0, "a height and a width"),
        (unet, (8, 8, 8), "a height and a width"),
        (unet, (-2, 4), "a height and a width"),
        (fixed, (4, 8), r"makes one size; its own; .* Try: size=\(8, 8\)"),
        (ring, 4, "a model of points that makes one size"),
    ):
        with pytest.raises(um.UsageError, match=said):
            model.sample(1, size=size)


def test_a_size_on_the_command_line_is_width_by_height(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", images=rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8))
    model = um.recipe.images(
        folder=tmp_path / "x.npz", size=8, width=8, blocks=1, steps=1, batch=2, held_out=0.2, picture_every=0
    )
    model.fit(tmp_path / "run", device="cpu", quiet=True)
    out = tmp_path / "made.npy"
    settings = ["sample", str(tmp_path / "run"), "--rows", "2", "--steps", "1", "--out", str(out)]
    assert main([*settings, "--size", "12x4"]) == 0
    assert np.load(out).shape == (2, 3, 4, 12)
    assert main([*settings, "--size", "12"]) == 2
    assert "--size 48x32" in capsys.readouterr().err
    with seeded(0):
        fixed = model_of(DiT(channels=3, size=(8, 8), patch=2, width=16, depth=1, heads=2, classes=2))
    fixed.save(tmp_path / "fixed")
    assert main(["sample", str(tmp_path / "fixed"), "--size", "4x8", "--out", str(out)]) == 2
    assert "try:    --size 8x8" in capsys.readouterr().err


def test_pictures_of_another_size_are_edited(unet):
    x = torch.rand(2, 3, 6, 12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(unet.decode(unet.encode(x)), x, atol=1e-6)
    edited = unet.edit(x, strength=0.5, label=1, seed=3)
    grid = unet.default_sampler(None, None)
    states = um.sampler.edit(
        unet.denoiser,
        unet.encode(x),
        strength=0.5,
        sampler=grid[0],
        grid=grid[1],
        seed=3,
        condition=um.Condition(label=torch.tensor([1, 1])),
    )
    *_, last = states
    torch.testing.assert_close(edited, unet.decode(last.x))
    mask = torch.zeros(6, 12)
    mask[:, :4] = 1
    painted = unet.inpaint(x, mask, label=1, steps=2)
    assert torch.equal(painted[..., 4:], x[..., 4:])
    assert not torch.allclose(painted[..., :4], x[..., :4], atol=1e-3)
    assert unet.outpaint(x, right=2, label=1, steps=2).shape == (2, 3, 6, 14)
    with pytest.raises(um.UsageError, match="data of shape"):
        unet.edit(torch.rand(1, 3, 7, 12), strength=0.5, label=1)
    with pytest.raises(um.UsageError, match="data of shape"):
        unet.log_likelihood(x, label=1)
