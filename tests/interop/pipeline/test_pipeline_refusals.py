"""A folder that is not a whole pipeline of known parts is refused in one sentence, and none of its code is run."""

import json
import shutil

import pytest
import torch
from interop.pipelines import noise, stable_diffusion

import unmelt as um
from unmelt.errors import UsageError

diffusers = pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline") / "sd"
    stable_diffusion(diffusers.DDIMScheduler(clip_sample=False)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "sd")


def changed(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **entries}), encoding="utf-8")


def pickled(path):
    path.rename(path.with_suffix(".bin"))


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


EVIL = "raise SystemExit('this code was run')"


def custom(folder):
    changed(folder / "model_index.json", unet=["my_unet", "MyUNet"])
    (folder / "unet" / "my_unet.py").write_text(EVIL, encoding="utf-8")


UNET, TEXT, VAE = "diffusion_pytorch_model.safetensors", "model.safetensors", "diffusion_pytorch_model.safetensors"
BREAK = {
    r"there is no .*model_index.json": lambda f: (f / "model_index.json").unlink(),
    r"model_index.json is damaged": lambda f: cut(f / "model_index.json"),
    r"holds a LatentConsistencyModelPipeline": lambda f: changed(
        f / "model_index.json", _class_name="LatentConsistencyModelPipeline"
    ),
    r"has the part unet of class my_unet.MyUNet; .*no code that comes with a pipeline is run": custom,
    r"has the part vae of class diffusers.VQModel": lambda f: changed(
        f / "model_index.json", vae=["diffusers", "VQModel"]
    ),
    r"has the part text_encoder of class transformers.BertModel": lambda f: changed(
        f / "model_index.json", text_encoder=["transformers", "BertModel"]
    ),
    r"with the part controlnet": lambda f: changed(f / "model_index.json", controlnet=["diffusers", "ControlNetModel"]),
    r"says of the part tokenizer: \[null, null\]": lambda f: changed(f / "model_index.json", tokenizer=[None, None]),
    r"there is no .*text_encoder; the part text_encoder": lambda f: shutil.rmtree(f / "text_encoder"),
    r"there is no .*unet.config.json": lambda f: (f / "unet" / "config.json").unlink(),
    r"a pickle \(.bin\) is never opened": lambda f: pickled(f / "unet" / UNET),
    r"no safetensors in .*text_encoder": lambda f: pickled(f / "text_encoder" / TEXT),
    r"there is no .*vae.*a pickle": lambda f: pickled(f / "vae" / VAE),
    r"text_encoder cannot be read": lambda f: cut(f / "text_encoder" / TEXT),
    r"unet.*safetensors": lambda f: cut(f / "unet" / UNET),
    r"text_encoder.config.json is damaged": lambda f: (f / "text_encoder" / "config.json").write_text(
        "[1", encoding="utf-8"
    ),
    r"tokenizer cannot be read as a CLIPTokenizer": lambda f: [
        (each.write_text("{", encoding="utf-8") if each.suffix == ".json" else None)
        for each in (f / "tokenizer").iterdir()
    ],
    r"UNet2DConditionModel has no setting 'of_tomorrow'": lambda f: changed(f / "unet" / "config.json", of_tomorrow=1),
    r"from 9 channels to 4": lambda f: changed(f / "unet" / "config.json", in_channels=9),
    r"with class_embed_type='timestep'": lambda f: changed(f / "unet" / "config.json", class_embed_type="timestep"),
    r"settings that UNet2DConditionModel cannot take": lambda f: changed(
        f / "unet" / "config.json", block_out_channels="wide"
    ),
    r"does not fit the network": lambda f: changed(f / "unet" / "config.json", block_out_channels=[8, 24]),
    r"text encoders of width 16 .*for a network that reads width 24": lambda f: changed(
        f / "unet" / "config.json", cross_attention_dim=24
    ),
    r"sample_size=None": lambda f: changed(f / "unet" / "config.json", sample_size=None),
    r"a scheduler of class LCMScheduler": lambda f: changed(
        f / "scheduler" / "scheduler_config.json", _class_name="LCMScheduler"
    ),
    r"there is no .*scheduler_config.json": lambda f: (f / "scheduler" / "scheduler_config.json").unlink(),
}


@pytest.mark.parametrize("message", BREAK)
def test_what_is_wrong_is_said(message, folder):
    BREAK[message](folder)
    with pytest.raises(UsageError, match=message):
        um.load_diffusers(folder, device="cpu")


def test_weights_in_several_files_are_read(folder, tmp_path):
    whole = um.load_diffusers(folder, device="cpu")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    (folder / "unet" / UNET).unlink()
    unet.save_pretrained(folder / "unet", max_shard_size="100KB")
    index = folder / "unet" / f"{UNET}.index.json"
    shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    assert len(set(shards.values())) > 1
    x, t = noise((4, 8, 8)), torch.full((2,), 0.5, dtype=torch.float64)
    again = um.load_diffusers(folder, device="cpu")
    assert torch.equal(again.denoiser(x, t).mean, whole.denoiser(x, t).mean)
    changed(index, weight_map={**shards, "conv_in.bias": "../../elsewhere.safetensors"})
    with pytest.raises(UsageError, match="files beside it"):
        um.load_diffusers(folder, device="cpu")


def test_a_variant_alone_is_read(folder):
    half = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet").half()
    (folder / "unet" / UNET).unlink()
    half.save_pretrained(folder / "unet", variant="fp16")
    model = um.load_diffusers(folder, device="cpu")
    weight = half.conv_in.weight.float()
    assert torch.equal(model.denoiser.backbone.network.conv_in.weight, weight)


def test_a_run_folder_whose_pipeline_has_gone_says_so(folder, tmp_path):
    um.load_diffusers(folder, device="cpu").save(tmp_path / "run")
    shutil.rmtree(folder)
    with pytest.raises(UsageError, match=r"there is no .*text_encoder.config.json"):
        um.load(tmp_path / "run", device="cpu")
