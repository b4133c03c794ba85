"""A DiT pipeline as a model: classes by name, guided away from the null class, without its variance."""

import json

import pytest
import torch
from interop.pipelines import autoencoder, difference, larger, noise, walked

import unmelt as um

diffusers = pytest.importorskip("diffusers")

NAMES = {0: "tench, Tinca tinca", 7: "cock"}
STEPS = 5


@pytest.fixture(scope="module", params=[4, 8], ids=["prediction", "prediction and variance"])
def both(tmp_path_factory, request):
    settings = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "sample_size": 8, "patch_size": 2}
    network = larger(diffusers.DiTTransformer2DModel(**settings, in_channels=4, out_channels=request.param))
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing", beta_end=0.012)
    pipeline = diffusers.DiTPipeline(network, autoencoder(scaling_factor=0.18), scheduler, NAMES)
    folder = tmp_path_factory.mktemp("dit") / "pipeline"
    pipeline.save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    (folder / "model_index.json").write_text(
        json.dumps({**index, "id2label": NAMES}), encoding="utf-8"
    )  # as published ones have it
    return pipeline, folder, um.load_diffusers(folder, device="cpu")


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_pictures_are_those_of_the_pipeline(both, guidance, monkeypatch):
    pipeline, folder, model = both
    x = noise((4, 8, 8))
    monkeypatch.setattr("diffusers.pipelines.dit.pipeline_dit.randn_tensor", lambda **_: x)
    pipeline.set_progress_bar_config(disable=True)
    settings = {"guidance_scale": guidance, "num_inference_steps": STEPS, "output_type": "pt"}
    wanted = pipeline([7, 3], **settings, return_dict=False)[0]
    known = model.condition_of(2, label=["cock", "3"])
    made = walked(model, x, um.interop.pipeline_times(folder, STEPS), um.sampler.DDIM(), known, guidance)
    assert difference(model.decode(made), wanted) <= 1e-5


def test_classes_have_their_names(both):
    model = both[2]
    assert (len(model.classes), model.classes[0], model.classes[7], model.classes[3]) == (1000, NAMES[0], "cock", "3")
    assert not torch.allclose(model.sample(1, label="cock", steps=2), model.sample(1, label=3, steps=2), atol=1e-3)


def test_a_saved_model_is_loaded_again(both, tmp_path):
    model = both[2]
    model.save(tmp_path)
    settings = {"label": 3, "guidance": 2.0, "steps": 2}
    assert torch.equal(um.load(tmp_path, device="cpu").sample(1, **settings), model.sample(1, **settings))
