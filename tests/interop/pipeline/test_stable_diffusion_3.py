"""A Stable Diffusion 3 pipeline as a model: flow matching, three text encoders, times by the size of the picture."""

import pytest
import torch
from interop.pipelines import called, difference, noise, stable_diffusion_3, walked

import unmelt as um
from unmelt.errors import UsageError

diffusers = pytest.importorskip("diffusers")

STEPS = 4
SCHEDULERS = {"shifted": {"shift": 3.0}, "by size": {"use_dynamic_shifting": True, "max_shift": 1.3}}


@pytest.fixture(scope="module", params=[("shifted", True), ("by size", False)], ids=str)
def both(tmp_path_factory, request):
    name, with_t5 = request.param
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**SCHEDULERS[name])
    pipeline = stable_diffusion_3(scheduler, with_t5)
    folder = tmp_path_factory.mktemp("sd3") / "pipeline"
    pipeline.save_pretrained(folder)
    return pipeline, folder, um.load_diffusers(folder, device="cpu")


@pytest.mark.parametrize("negative", [["bad", "grey"], None])
def test_the_latents_are_those_of_the_pipeline(both, negative):
    pipeline, folder, model = both
    prompts = ["a cat", "dogs"]
    known = model.condition_of(2, prompt=prompts, negative=negative)
    for (high, wide), guidance in zip(((16, 16), (24, 8), (8, 32)), (5.0, 1.0, 2.0), strict=True):
        shape = (4, high // 2, wide // 2)
        x, times = noise(shape), um.interop.pipeline_times(folder, STEPS, shape)
        settings = {"latents": x, "num_inference_steps": STEPS, "guidance_scale": guidance}
        wanted = called(pipeline, prompt=prompts, negative_prompt=negative, height=high, width=wide, **settings)
        made = walked(model, x, times, um.sampler.Euler(), known, guidance)
        assert difference(made, wanted) <= 1e-5


def test_its_times_are_a_grid_of_the_facade(both):
    _, folder, model = both
    times = um.interop.pipeline_times(folder, STEPS, (4, 8, 8))
    grid = um.grid.fixed(times.tolist())
    x = model.denoiser.process.prior((1, 4, 8, 8), um.rng.RowSeeds.of(3, 1))
    wanted = walked(model, x, times, um.sampler.Euler(), model.condition_of(1, prompt="a cat"))
    made = model.sample(1, prompt="a cat", grid=grid, sampler=um.sampler.Euler(), seed=3)
    assert (made - model.decode(wanted)).abs().max() < 1e-6


def test_prompts_matter_and_a_model_is_saved(both, tmp_path):
    model = both[2]
    settings = {"negative": "bad", "guidance": 2.0, "steps": 2}
    made = model.sample(1, prompt="a cat", **settings)
    assert difference(made, model.sample(1, prompt="dogs", **settings)) > 1e-4
    model.save(tmp_path)
    again = um.load(tmp_path, device="cpu")
    assert (again.sample(1, prompt="a cat", **settings) - made).abs().max() < 1e-6
    assert model.edit(made, strength=0.6, prompt="dogs", steps=2).shape == made.shape


def test_sizes_that_cannot_be_made_are_refused(both):
    with pytest.raises(UsageError, match="a height that is a multiple of 4"):
        both[2].sample(1, prompt="a cat", size=(16, 18))
    with pytest.raises(UsageError, match="at most 32 a side"):
        both[2].sample(1, prompt="a cat", size=(8, 80), steps=1)


def test_the_grid_follows_the_size_of_the_picture():
    shift = um.interop.ResolutionShift(shifts=(0.5, 1.15), ends=(256, 4096))
    schedule = um.schedule.Straight()
    grid = um.Grid(shift, 10)
    for shape, mu in (((16, 32, 32), 0.5), ((16, 128, 128), 1.15)):
        u = torch.linspace(1, 0, 11, dtype=torch.float64)
        s = torch.tensor(mu, dtype=torch.float64).exp()
        torch.testing.assert_close(grid.for_shape(shape)(schedule), s * u / (1 + (s - 1) * u))
    assert um.grid.uniform(10).for_shape((16, 32, 32)) == um.grid.uniform(10)
