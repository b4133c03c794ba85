"""A Stable Diffusion pipeline as a model: the pictures of diffusers' own pipeline, and every verb of ours."""

import shutil

import pytest
import torch
from interop.pipelines import TOKENS, called, difference, noise, stable_diffusion, walked

import unmelt as um

diffusers = pytest.importorskip("diffusers")

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
LEADING = {**BETAS, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
TRAILING = {**BETAS, "clip_sample": False, "timestep_spacing": "trailing"}
ZERO = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
PROMPTS = {"prompt": ["a cat", "dogs"], "negative_prompt": ["bad", ""]}
CASES = {
    "ddim": lambda: diffusers.DDIMScheduler(**LEADING),
    "ddim, trailing": lambda: diffusers.DDIMScheduler(**TRAILING),
    "ddim, v": lambda: diffusers.DDIMScheduler(**LEADING, prediction_type="v_prediction"),
    "ddim, v, no signal at the end": lambda: diffusers.DDIMScheduler(**TRAILING, **ZERO),
    "euler": lambda: diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1),
    "euler, linspace, v": lambda: diffusers.EulerDiscreteScheduler(**BETAS, prediction_type="v_prediction"),
    "euler, stopped early": lambda: diffusers.EulerDiscreteScheduler(
        **BETAS, timestep_spacing="trailing", final_sigmas_type="sigma_min"
    ),
}
STEPS = 4


SIZES = ((16, 16), (16, 24), (32, 8))


@pytest.fixture(scope="module")
def pipeline():
    return stable_diffusion(diffusers.DDIMScheduler(**LEADING))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pipeline):
    path = tmp_path_factory.mktemp("pipeline") / "sd"
    pipeline.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return um.load_diffusers(folder, device="cpu")


def start(scheduler, x, times, model):
    """The noise that diffusers starts from, in our coordinates."""
    scheduler.set_timesteps(STEPS)
    scale = torch.as_tensor(scheduler.init_noise_sigma).double()
    if hasattr(scheduler, "sigmas"):  # of x / alpha
        scale = scale * model.denoiser.process.schedule.alpha(times[0])
    return (scale * x).float()


@pytest.mark.parametrize("name", CASES)
def test_the_latents_are_those_of_the_pipeline(name, pipeline, folder, tmp_path):
    scheduler, copy = CASES[name](), tmp_path / "copy"
    shutil.copytree(folder, copy)
    scheduler.save_pretrained(copy / "scheduler")
    theirs = diffusers.StableDiffusionPipeline(**{**pipeline.components, "scheduler": scheduler})
    model, times = um.load_diffusers(copy, device="cpu"), um.interop.pipeline_times(copy, STEPS)
    sampler = um.sampler.Euler() if "euler" in name else um.sampler.DDIM()
    known = model.condition_of(2, prompt=PROMPTS["prompt"], negative=PROMPTS["negative_prompt"])
    for (high, wide), guidance in zip(SIZES, (1.0, 5.0, 2.0), strict=True):
        x = noise((4, high // 2, wide // 2))
        settings = {"latents": x, "num_inference_steps": STEPS, "guidance_scale": guidance}
        wanted = called(theirs, **PROMPTS, height=high, width=wide, **settings)
        made = walked(model, start(theirs.scheduler, x, times, model), times, sampler, known, guidance)
        if "euler" in name:
            made = made / model.denoiser.process.schedule.alpha(times[-1]).float()
        assert difference(made, wanted) <= 1e-5


def test_no_negative_prompt_is_an_empty_one(folder, pipeline, model):
    x, times = noise((4, 8, 8)), um.interop.pipeline_times(folder, STEPS)
    wanted = called(pipeline, prompt=["a cat", "dogs"], latents=x, num_inference_steps=STEPS, guidance_scale=5.0)
    for negative in (None, "", ["", ""]):
        known = model.condition_of(2, prompt=["a cat", "dogs"], negative=negative)
        assert difference(walked(model, x, times, um.sampler.DDIM(), known, 5.0), wanted) <= 1e-5
    unguided = called(pipeline, prompt=["", ""], latents=x, num_inference_steps=STEPS, guidance_scale=1.0)
    assert difference(walked(model, x, times, um.sampler.DDIM()), unguided) <= 1e-5
    assert difference(wanted, unguided) > 1e-3


def test_pictures_are_those_of_the_pipelines_autoencoder(pipeline, model):
    z = noise((4, 8, 8))
    with torch.no_grad():
        wanted = (pipeline.vae.decode(z / pipeline.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    assert (model.decode(z) - wanted).abs().max() < 1e-6


def test_every_verb_works(model):
    prompts = {"prompt": "a cat", "negative": "bad", "guidance": 3.0, "steps": 2, "seed": 1}
    x = model.sample(2, **prompts)
    assert x.shape == (2, 3, 16, 16)
    assert model.sample(1, **prompts, size=(8, 24)).shape == (1, 3, 8, 24)
    assert torch.allclose(model.sample(1, **prompts), x[:1], atol=1e-5)
    assert not torch.allclose(model.sample(2, **{**prompts, "negative": "good"}), x, atol=1e-3)
    rows = model.sample(2, **{**prompts, "negative": ["bad", ""]})
    assert torch.allclose(rows[0], x[0], atol=1e-5)
    assert not torch.allclose(rows[1], x[1], atol=1e-5)
    for sampler in (um.sampler.Heun(), um.sampler.Ancestral(), um.sampler.UniPC()):
        assert model.sample(1, **prompts, sampler=sampler, grid=um.grid.balanced(3)).isfinite().all()
    assert model.edit(x, strength=0.5, **prompts).shape == x.shape
    mask = torch.zeros(2, 16, 16)
    mask[:, :8] = 1
    painted = model.inpaint(x, mask, **prompts)
    assert torch.equal(painted[:, :, 8:], x[:, :, 8:])
    assert len(list(model.trajectory(1, **prompts))) == 3


def test_a_saved_model_is_loaded_again(model, tmp_path):
    model.save(tmp_path / "run")
    again = um.load(tmp_path / "run", device="cpu")
    settings = {"prompt": "a cat", "guidance": 2.0, "steps": 2}
    assert torch.equal(again.sample(1, **settings), model.sample(1, **settings))
    assert again.encoder == model.encoder


def test_a_row_does_not_depend_on_other_prompts(model):
    alone = model.encoder(["a cat"])
    among = model.encoder(["a dog", "a cat", None])
    assert alone.sequence.shape == (1, TOKENS, 16)
    assert torch.equal(among.sequence[1], alone.sequence[0])
    assert not among.mask[2].any()
