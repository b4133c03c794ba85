"""A Z-Image pipeline as a model: prompts of any length, and a guidance scale that diffusers counts from 0."""

import pytest
import torch
from interop.pipelines import called, difference, noise, walked, z_image

import unmelt as um

diffusers = pytest.importorskip("diffusers")

STEPS = 3
SCHEDULERS = {"shifted": {"shift": 3.0}, "by size": {"use_dynamic_shifting": True}}


@pytest.fixture(scope="module", params=SCHEDULERS)
def both(tmp_path_factory, request):
    pipeline = z_image(diffusers.FlowMatchEulerDiscreteScheduler(**SCHEDULERS[request.param]))
    folder = tmp_path_factory.mktemp("z") / "pipeline"
    pipeline.save_pretrained(folder)
    return pipeline, folder, um.load_diffusers(folder, device="cpu")


@pytest.mark.parametrize("negative", [["bad", "very grey"], None])
def test_the_latents_are_those_of_the_pipeline(both, negative):
    pipeline, folder, model = both
    prompts = ["a cat", "two dogs on a hill"]
    known = model.condition_of(2, prompt=prompts, negative=negative)
    for (high, wide), guidance in zip(((16, 16), (24, 8)), (5.0, 1.0), strict=True):
        shape = (4, high // 2, wide // 2)
        x, times = noise(shape), um.interop.pipeline_times(folder, STEPS, shape)
        settings = {"latents": x.clone(), "num_inference_steps": STEPS, "guidance_scale": guidance - 1}
        wanted = called(
            pipeline,
            prompt=list(prompts),
            negative_prompt=negative and list(negative),
            height=high,
            width=wide,
            **settings,
        )
        made = walked(model, x, times, um.sampler.Euler(), known, guidance)
        assert difference(made, wanted) <= 1e-5
        grid = um.Grid(model.grid.spacing, STEPS).for_shape(shape)(model.denoiser.process.schedule)
        assert (grid - times).abs().max() < 1e-6


def test_the_facade_samples_any_size_and_is_saved(both, tmp_path):
    model = both[2]
    settings = {"prompt": "a cat", "negative": "bad", "guidance": 2.0, "steps": 2, "size": (16, 8)}
    made = model.sample(1, **settings)
    assert made.shape == (1, 3, 16, 8)
    assert not torch.allclose(model.sample(1, **{**settings, "prompt": "dogs"}), made, atol=1e-5)
    model.save(tmp_path)
    assert torch.allclose(um.load(tmp_path, device="cpu").sample(1, **settings), made, atol=1e-6)
