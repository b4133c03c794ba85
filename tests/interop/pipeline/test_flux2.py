"""A Flux 2 [klein] pipeline as a model: patched latents, layers of a language model, times by size and steps."""

import pytest
import torch
from interop.pipelines import difference, flux2, noise, walked

import unmelt as um
from unmelt.errors import UsageError
from unmelt.interop import DiffusersFlux2

diffusers = pytest.importorskip("diffusers")

STEPS = 3


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    pipeline = flux2(diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True))
    folder = tmp_path_factory.mktemp("flux2") / "pipeline"
    pipeline.save_pretrained(folder)
    return pipeline, folder, um.load_diffusers(folder, device="cpu")


@torch.no_grad()
def test_pictures_are_those_of_the_pipeline(both):
    pipeline, folder, model = both
    pipeline.set_progress_bar_config(disable=True)
    prompts, sampler = ["a cat", "dogs"], um.sampler.Euler()
    known = model.condition_of(2, prompt=prompts)
    for (high, wide), guidance in zip(((16, 16), (24, 8)), (4.0, 1.0), strict=True):
        shape = (16, high // 4, wide // 4)
        x, times = noise(shape), um.interop.pipeline_times(folder, STEPS, shape)
        settings = {"latents": x, "num_inference_steps": STEPS, "guidance_scale": guidance, "return_dict": False}
        wanted = pipeline(prompt=prompts, height=high, width=wide, output_type="pt", **settings)[0]
        made = walked(model, x, times, sampler, known, guidance)
        assert difference(model.decode(made), wanted) <= 1e-5
        grid = um.Grid(model.grid.spacing, STEPS).for_shape(shape)(model.denoiser.process.schedule)
        assert (grid - times).abs().max() < 1e-6


@torch.no_grad()
def test_latents_are_those_that_the_pipeline_encodes(both):
    pipeline, _, model = both
    x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    wanted = pipeline._encode_vae_image(2 * x - 1, None)
    assert torch.allclose(model.codec.encode(x), wanted, atol=1e-5)
    assert model.codec.latent_shape((3, 16, 24)) == tuple(wanted.shape[1:])
    assert model.codec.data_shape(wanted.shape[1:]) == (3, 16, 24)


def test_the_facade_samples_any_size_and_is_saved(both, tmp_path):
    model = both[2]
    settings = {"prompt": "a cat", "negative": "bad", "guidance": 2.0, "steps": 2, "size": (16, 8)}
    made = model.sample(1, **settings)
    assert made.shape == (1, 3, 16, 8)
    assert not torch.allclose(model.sample(1, **{**settings, "prompt": "dogs"}), made, atol=1e-5)
    assert model.edit(made, strength=0.5, prompt="dogs", steps=2).shape == made.shape
    mask = torch.zeros(16, 8)
    mask[:8] = 1
    painted = model.inpaint(made, mask, prompt="dogs", steps=2)
    assert torch.equal(painted[:, :, 8:], made[:, :, 8:])
    model.save(tmp_path)
    assert torch.allclose(um.load(tmp_path, device="cpu").sample(1, **settings), made, atol=1e-6)


def test_an_embedded_guidance_scale_is_refused():
    settings = {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 8, "num_attention_heads": 2}
    with pytest.raises(UsageError, match="that reads a guidance scale"):
        DiffusersFlux2(settings | {"joint_attention_dim": 8, "axes_dims_rope": (2, 2, 2, 2)})
