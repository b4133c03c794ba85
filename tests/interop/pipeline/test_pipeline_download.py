"""A pipeline is downloaded by its name: JSON, safetensors and the text of tokenizers, and nothing else."""

import json
import re

import fakehub
import pytest
import torch
from interop.pipelines import stable_diffusion

import unmelt as um
from unmelt.errors import UsageError
from unmelt.interop.pipeline.download import needed_files

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("huggingface_hub")

NAME = "someone/painter"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline") / "sd"
    stable_diffusion(diffusers.DDIMScheduler(clip_sample=False)).save_pretrained(path)
    return path


@pytest.fixture
def hub(folder, monkeypatch, tmp_path):
    from huggingface_hub import constants

    with fakehub.running() as running:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        address = running.address
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in {
            "ENDPOINT": address,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": True,
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        running.commits[NAME] = [{}, files]
        yield running


def test_the_pipeline_of_a_name_is_that_of_its_folder(hub, folder):
    files = hub.files(NAME)
    files["unet/diffusion_pytorch_model.fp16.safetensors"] = b"half"
    files["unet/diffusion_pytorch_model.bin"] = b"a pickle"
    files["unet/attention.py"] = b"raise SystemExit"
    files["painter-pruned.safetensors"] = b"everything in one"
    files["safety_checker/model.safetensors"] = b"not needed"
    model, local = um.load_diffusers(NAME, device="cpu"), um.load_diffusers(folder, device="cpu")
    asked = {"prompt": "a cat", "guidance": 3.0, "steps": 2, "seed": 0}
    assert torch.equal(model.sample(1, **asked), local.sample(1, **asked))
    assert {"model_index.json", "tokenizer.json", "diffusion_pytorch_model.safetensors"} <= set(hub.read())
    assert not [path for path in hub.read() if re.search(r"fp16|bin|py$|pruned", path) or "safety" in path]
    assert not [path for _, path in hub.asked if "safety_checker/" in path and "/resolve/" in path]


def test_a_pipeline_in_the_cache_needs_no_network(hub, monkeypatch):
    first = um.load_diffusers(NAME, device="cpu")
    monkeypatch.setattr("unmelt.hub.is_known", lambda endpoint: False)
    asked = len(hub.asked)
    again = um.load_diffusers(NAME, device="cpu")
    assert len(hub.asked) == asked
    x, t = torch.zeros(1, 4, 8, 8), torch.full((1,), 0.5, dtype=torch.float64)
    assert torch.equal(again.denoiser(x, t).mean, first.denoiser(x, t).mean)


def test_a_pipeline_of_an_unknown_class_is_refused_before_its_weights_are_read(hub):
    index = json.loads(hub.files(NAME)["model_index.json"])
    hub.files(NAME)["model_index.json"] = json.dumps({**index, "_class_name": "PainterPipeline"}).encode()
    with pytest.raises(UsageError, match="holds a PainterPipeline; one of "):
        um.load_diffusers(NAME, device="cpu")
    assert hub.read() == ["model_index.json"]


def test_what_is_no_pipeline_or_not_there_is_said(hub, tmp_path):
    hub.put("someone/notes", README__md=b"notes")
    with pytest.raises(UsageError, match="someone/notes on the Hub is not a pipeline of diffusers"):
        um.load_diffusers("someone/notes", device="cpu")
    with pytest.raises(UsageError, match="the Hub has no someone/nothing"):
        um.load_diffusers("someone/nothing", device="cpu")


def test_half_precision_is_read_where_there_is_nothing_else():
    half = ["unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors"]
    assert needed_files([*half, "unet/old.fp16.bin"], ("unet",)) == ["model_index.json", *half]
    both = [*half, "unet/diffusion_pytorch_model.safetensors"]
    assert needed_files(both, ("unet",)) == ["model_index.json", half[0], both[2]]
