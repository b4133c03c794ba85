"""An exported model makes the same images in diffusers from the same noise; what cannot be exported is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

import unmelt as um
from unmelt.cli import main
from unmelt.errors import UsageError
from unmelt.interop import Betas, DiffusersUNet, from_diffusers, sampler_for_export, to_diffusers
from unmelt.rng import RowSeeds

diffusers = pytest.importorskip("diffusers")

TINY = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
TOLERANCE = 1e-4


def moved(model):
    """Weights moved away from their initial values, many of which are zero."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in model.denoiser.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def digits():
    return moved(um.recipe.digits(width=8, steps=1))


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 12, 12, 3), dtype=np.uint8)
    for k, name in enumerate(("cat", "dog")):
        (folder / name).mkdir()
        for number in range(20):
            Image.fromarray(pixels[k, number]).save(folder / name / f"{number}.png")
    return moved(um.recipe.images(folder=folder, size=8, width=8, blocks=1, steps=1))


def transformer():
    body = um.backbone.DiT(channels=3, size=(8, 8), patch=2, width=16, depth=2, heads=2, classes=4)
    process = um.process.Gaussian(um.schedule.Straight(3.0))
    return moved(
        um.Model(
            denoiser=um.denoiser.NetworkDenoiser(body, process, um.prediction.FlowVelocity(), (3, 8, 8)),
            codec=um.codec.Affine.images(),
            sampler=um.sampler.Euler(),
            grid=um.grid.uniform(8),
            classes=tuple("abcd"),
        )
    )


def student():
    body = um.backbone.UNet(
        channels=1,
        width=8,
        multipliers=(1, 2),
        attention=(False, True),
        classes=2,
        with_arrival=True,
        with_guidance=True,
    )
    process = um.process.Gaussian(um.schedule.Cosine())
    denoiser = um.denoiser.FlowMap(body, process, um.prediction.V(), (1, 8, 8), guidance_range=(1.0, 4.0))
    settings = {"sampler": um.sampler.Jump(), "grid": um.grid.fixed([1.0, 0.6, 0.25, 0.0]), "classes": ("a", "b")}
    return moved(um.Model(denoiser=denoiser, codec=um.codec.Affine.images(), **settings))


def latents():
    body = um.backbone.UNet(channels=4, width=8, multipliers=(1, 2), attention=(False, True), classes=2)
    process = um.process.Gaussian(um.schedule.Straight())
    denoiser = um.denoiser.NetworkDenoiser(body, process, um.prediction.FlowVelocity(), (4, 4, 4))
    codec = um.codec.Autoencoder(channels=3, widths=(8, 8), blocks=(1, 1))
    codec.latent_mean.add_(0.3)
    settings = {"sampler": um.sampler.Euler(), "grid": um.grid.balanced(5), "classes": ("a", "b")}
    return moved(um.Model(denoiser=denoiser, codec=codec, modality=um.modality.Images(), **settings))


def noise_of(model, rows, seed):
    """The noise that unmelt starts from, scaled to unit variance."""
    return RowSeeds.of(seed, rows).normal((rows, *model.denoiser.shape))


def diffusers_pipeline(folder, **options):
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def diffusers_images(folder, model, rows, seed, **asked):
    pipeline = diffusers_pipeline(folder, custom_pipeline=str(folder), trust_remote_code=True)
    return pipeline(batch_size=rows, latents=noise_of(model, rows, seed), output_type="pt", **asked).images


MADE = {"transformer": transformer, "student": student, "latents": latents}


@pytest.mark.parametrize("which", ["digits", "colour", *MADE])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_the_same_image_from_the_same_noise(request, tmp_path, which, guidance):
    model = MADE[which]() if which in MADE else request.getfixturevalue(which)
    folder = to_diffusers(model, tmp_path / "out")
    sampler, grid = sampler_for_export(model)
    ours = model.sample(3, label=[1, 0, 1], guidance=guidance, seed=5, sampler=sampler, grid=grid)
    found = diffusers_images(folder, model, 3, 5, class_labels=[1, 0, 1], guidance_scale=guidance)
    assert ours.std() > 0.05
    assert (found - ours).abs().max() <= TOLERANCE
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pkl"))


def test_the_default_sampler_is_exported_as_a_diffusers_solver(digits):
    assert sampler_for_export(digits) == (um.sampler.DPMpp(order=2), um.grid.karras(20))
    straight = transformer()
    assert sampler_for_export(straight) == (straight.sampler, straight.grid)
    straight.sampler = None
    assert sampler_for_export(straight) == (um.sampler.Euler(), um.grid.balanced(8))


def test_export_without_a_class_and_with_another_sampler(digits, tmp_path):
    settings = {"sampler": um.sampler.Euler(), "grid": um.grid.balanced(7)}
    folder = to_diffusers(digits, tmp_path / "out", **settings)
    assert (diffusers_images(folder, digits, 2, 1) - digits.sample(2, seed=1, **settings)).abs().max() <= TOLERANCE


def native():
    betas = Betas("scaled_linear")
    with um.rng.seeded(0):
        body = DiffusersUNet(betas, TINY)
    denoiser = um.denoiser.NetworkDenoiser(body, um.process.Gaussian(betas), um.prediction.Noise(), (1, 8, 8))
    parts = {"sampler": um.sampler.DDIM(), "grid": um.grid.uniform(10)}
    return moved(um.Model(denoiser=denoiser, codec=um.codec.Affine.images(), **parts))


def test_a_diffusers_unet_is_exported_without_code_and_imported_again(tmp_path):
    model = native()
    folder = to_diffusers(model, tmp_path / "out")
    assert not list(folder.rglob("*.py"))
    back = from_diffusers(folder)
    for name, value in model.denoiser.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
    again = um.Model(denoiser=back, codec=model.codec, sampler=model.sampler, grid=model.grid)
    assert torch.equal(again.sample(2, seed=3), model.sample(2, seed=3))


def test_diffusers_ddim_and_ours_take_the_same_steps(tmp_path):
    model = native()
    pipeline = diffusers_pipeline(to_diffusers(model, tmp_path / "out"))
    x = model.denoiser.process.prior((2, 1, 8, 8), RowSeeds.of(9, 2))
    pipeline.scheduler.set_timesteps(10)
    with torch.no_grad():
        for t in pipeline.scheduler.timesteps:
            x = pipeline.scheduler.step(pipeline.unet(x, t).sample, t, x).prev_sample
    assert (model.codec.decode(x) - model.sample(2, seed=9)).abs().max() <= TOLERANCE


def test_models_that_cannot_be_exported_are_refused(digits, tmp_path):
    jumper = student()
    jumper.denoiser.is_denoiser = False
    with pytest.raises(UsageError, match="a student that only jumps"):
        to_diffusers(jumper, tmp_path / "jumper", sampler=um.sampler.Euler(), grid=um.grid.balanced(4))
    assert not (tmp_path / "jumper").exists()
    with pytest.raises(UsageError, match="has no equivalent of"):
        to_diffusers(digits, tmp_path / "a", sampler=um.sampler.Heun())
    with pytest.raises(UsageError, match="as diffusers' pipelines make"):
        to_diffusers(um.recipe.ring(steps=1), tmp_path / "b")
    adapted = um.recipe.digits(width=8, steps=1)
    adapted.add_adapter("style", um.adapter.LoRA(rank=2))
    adapted.active_adapter = "style"
    with pytest.raises(UsageError, match=r"samples with its adapter 'style'.*merge_adapter"):
        to_diffusers(adapted, tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(UsageError, match="is not empty"):
        to_diffusers(digits, tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]  # nothing half-written


def test_checkpoints_that_cannot_be_imported_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"there is no .*unet"):
        from_diffusers(tmp_path)
    folder = to_diffusers(native(), tmp_path / "out")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(UsageError):
        from_diffusers(folder)
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(UsageError, match="a pickle"):
        from_diffusers(folder)


def test_on_the_command_line(tmp_path, capsys):
    um.recipe.digits(width=8, steps=1).fit(tmp_path / "run", device="cpu", quiet=True)
    assert main(["export", str(tmp_path / "run"), "--to", "diffusers", "--steps", "4"]) == 0
    model = um.load(tmp_path / "run", device="cpu")
    found = diffusers_images(tmp_path / "run-diffusers", model, 2, 0, class_labels=[3, 4])
    sampler, grid = sampler_for_export(model, grid=um.grid.karras(4))
    assert (found - model.sample(2, label=[3, 4], seed=0, sampler=sampler, grid=grid)).abs().max() <= TOLERANCE
    assert main(["export", str(tmp_path / "run")]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("spacing", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_betas_equal_those_of_diffusers(spacing):
    betas = Betas(spacing)
    scheduler = diffusers.DDPMScheduler(beta_schedule=spacing, beta_start=1e-4, beta_end=0.02)
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    assert (betas.alpha(t) ** 2 - scheduler.alphas_cumprod.double()).abs().max() < 2e-6
    assert (betas.time(betas.log_snr(t)) - t).abs().max() < 1e-9
    inner = torch.rand(500, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.99 + 0.001
    h = 1e-7
    slope = (betas.alpha(inner + h) - betas.alpha(inner - h)) / (2 * h)
    smooth = (inner * 1000 % 1 - 0.5).abs() < 0.49
    torch.testing.assert_close(betas.alpha_rate(inner)[smooth], slope[smooth], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("embeddings", [4, 5])
@pytest.mark.parametrize("prediction", [um.prediction.V(), um.prediction.Noise()], ids=str)
def test_a_diffusers_unet_with_classes_makes_the_same_images(tmp_path, embeddings, prediction):
    """With an embedding for null, or without one, where every row has its class."""
    betas = Betas()
    with um.rng.seeded(0):
        body = DiffusersUNet(betas, {**TINY, "num_class_embeds": embeddings}, classes=4)
    denoiser = um.denoiser.NetworkDenoiser(body, um.process.Gaussian(betas), prediction, (1, 8, 8))
    parts = {"sampler": um.sampler.Euler(), "grid": um.grid.balanced(4), "classes": tuple("abcd")}
    model = moved(um.Model(denoiser=denoiser, codec=um.codec.Affine.images(), **parts))
    folder = to_diffusers(model, tmp_path / "out")
    found = diffusers_images(folder, model, 2, 5, class_labels=[0, 3])
    assert (found - model.sample(2, label=[0, 3], seed=5)).abs().max() <= TOLERANCE
    if embeddings == 4:
        with pytest.raises(ValueError, match="without its class"):  # of the class that the folder brings
            diffusers_images(folder, model, 2, 5)
