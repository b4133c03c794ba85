"""A Stable Diffusion XL pipeline as a model: two text encoders, a pooled vector, and the size of the picture."""

import json

import pytest
from interop.pipelines import called, difference, noise, stable_diffusion_xl, walked

import unmelt as um
from unmelt.errors import UsageError

diffusers = pytest.importorskip("diffusers")

SCHEDULER = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}
SCHEDULER |= {"set_alpha_to_one": False, "steps_offset": 1}
STEPS = 4


@pytest.fixture(scope="module", params=[True, False], ids=["zeros for no prompt", "an empty prompt for none"])
def both(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("xl") / "pipeline"
    pipeline = stable_diffusion_xl(diffusers.DDIMScheduler(**SCHEDULER), request.param)
    pipeline.save_pretrained(folder)
    return pipeline, folder, um.load_diffusers(folder, device="cpu")


@pytest.mark.parametrize("negative", [["bad", "grey"], None])
def test_the_latents_are_those_of_the_pipeline(both, negative):
    pipeline, folder, model = both
    times, prompts = um.interop.pipeline_times(folder, STEPS), ["a cat", "dogs"]
    known = model.condition_of(2, prompt=prompts, negative=negative)
    for (high, wide), guidance in zip(((16, 16), (24, 8)), (5.0, 1.0), strict=True):
        x = noise((4, high // 2, wide // 2))
        settings = {"latents": x, "num_inference_steps": STEPS, "guidance_scale": guidance}
        wanted = called(pipeline, prompt=prompts, negative_prompt=negative, height=high, width=wide, **settings)
        assert difference(walked(model, x, times, um.sampler.DDIM(), known, guidance), wanted) <= 1e-5


def test_prompts_and_the_size_matter(both):
    _, folder, model = both
    x, times = noise((4, 8, 8)), um.interop.pipeline_times(folder, STEPS)
    made = walked(model, x, times, um.sampler.DDIM(), model.condition_of(2, prompt="a cat"))
    other = walked(model, x, times, um.sampler.DDIM(), model.condition_of(2, prompt="dogs"))
    assert difference(made, other) > 1e-4
    known = model.condition_of(2, prompt="a cat")
    swapped = model.condition_of(2, condition=um.Condition(sequence=known.sequence, vector=-known.vector))
    assert difference(made, walked(model, x, times, um.sampler.DDIM(), swapped)) > 1e-4


def test_a_picture_is_made_and_the_model_saved(both, tmp_path):
    model = both[2]
    settings = {"prompt": "a cat", "negative": "bad", "guidance": 2.0, "steps": 2}
    assert model.sample(1, **settings, size=(8, 24)).shape == (1, 3, 8, 24)
    model.save(tmp_path / "run")
    again = um.load(tmp_path / "run", device="cpu")
    assert (again.sample(1, **settings) - model.sample(1, **settings)).abs().max() < 1e-6


def test_a_refiner_is_refused(both, tmp_path):
    index = json.loads((both[1] / "model_index.json").read_text(encoding="utf-8"))
    for part in both[1].iterdir():
        if part.is_dir():
            (tmp_path / part.name).symlink_to(part)
    (tmp_path / "model_index.json").write_text(
        json.dumps({**index, "requires_aesthetics_score": True}), encoding="utf-8"
    )
    with pytest.raises(UsageError, match="a refiner, which reads an aesthetic score"):
        um.load_diffusers(tmp_path)
