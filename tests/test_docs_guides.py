"""The Python of the guides to data, text, few steps, latents, training, sharing and serving runs in its order.

So do those of their commands that are soon done. Recipes are given few steps of small networks and small pictures, and
what a page trains for long is shortened where `changes` says so.
"""

import json
from dataclasses import replace

import fakehub
import pytest
import torch
from doc_pages import draw, run_page, shorten
from jaxtyping import config
from PIL import Image

import unmelt as um
from unmelt.data import emoji
from unmelt.shipped import PLACE

SHORT = {"steps": 2, "batch": 4, "picture_every": 0}
IMAGES = {**SHORT, "size": 8, "width": 8, "blocks": 1}
CODEC = {**SHORT, "size": 16, "widths": (8, 16), "blocks": (1, 1)}
LATENTS = {**SHORT, "size": 16, "width": 16, "depth": 1, "heads": 2}
DIGITS = {**SHORT, "width": 4, "components": 1}
TEXT = {**SHORT, "width": 16, "depth": 1, "vocabulary": 300}
UNET = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": (8, 8), "norm_num_groups": 4}
UNET |= {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "layers_per_block": 1}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with a cache of its own; shapes are checked by other tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    return tmp_path


def books(place):
    (place / "books").mkdir()
    for number in range(4):
        text = f"The sea was wide on day {number}. That was the end.\n"
        (place / "books" / f"{number}.txt").write_text(text * 30, encoding="utf-8")


def faces(place, classes=5):
    """Pictures in folders of classes, and a model of them in runs/faces."""
    draw(place, *(f"faces/{number % classes}/{number}" for number in range(25)))
    model = um.recipe.images(folder="faces", **IMAGES)
    model.grid = um.grid.balanced(3)  # for speed
    model.fit("runs/faces", device="cpu", quiet=True)


def test_data(here, monkeypatch):
    draw(here, *(f"{folder}/{number}" for folder in ("photos", "pets") for number in range(12)), side=20)
    Image.new("RGB", (40, 20)).save(here / "photos" / "wide.png")
    for number in range(12):
        (here / "pets" / f"{number}.txt").write_text("a red cat", encoding="utf-8")
    apple = next(each for each in emoji._openmoji(tones=False) if each.caption == "red apple")
    monkeypatch.setattr(emoji, "_openmoji", lambda tones: iter([apple]))
    icons = here / "node_modules" / "@iconify-json" / "noto"
    icons.mkdir(parents=True)
    body = {"body": '<rect width="8" height="8" fill="#f00"/>'}
    icon_set = json.dumps({"icons": {"red-square": body}, "width": 8, "height": 8})
    (icons / "icons.json").write_text(icon_set, encoding="utf-8")
    shorten(monkeypatch, um.recipe, "images", **IMAGES)
    names = run_page("data")
    assert "13 images used" in str(names["report"])
    assert (here / "emoji" / "1F34E.png").is_file()
    assert (here / "noto" / "red-square.png").is_file()


def test_text(here, monkeypatch, capsys):
    books(here)
    shorten(monkeypatch, um.recipe, "text", **TEXT)
    (here / "runs").mkdir()
    (here / "runs" / "code").symlink_to(PLACE / "lab" / "code")
    (here / "draft.py").write_text("import <gap>\n", encoding="utf-8")
    commands = {
        "unmelt sample runs/code --prompt": "--rows 1",
        "unmelt sample runs/code --order random": "--rows 1",
        "unmelt infill runs/code": "--steps 4",
    }
    names = run_page("text", commands=commands)
    said = capsys.readouterr().out
    assert "def " in said
    assert "import " in said
    assert names["frame"].t == 0
    assert names["frame"].text[0].startswith("The sea")


def test_few_steps(here, monkeypatch):
    shorten(monkeypatch, um.recipe, "digits", **DIGITS)
    short = "MeanFlow(training_steps=2), steps=2, "
    changes = {f"MeanFlow(), steps=2, {after}": short + after for after in ("out", "guidance_range")}
    changes["Consistency(), steps=2)"] = "Consistency(training_steps=2), steps=2)"
    changes["Adversarial(), steps=2, start"] = "Adversarial(training_steps=2), steps=2, start"
    commands = {"unmelt distill runs/digits --method mean-flow": "--training-steps 2 --out runs/again"}
    names = run_page("few-steps", changes=changes, commands=commands)
    assert names["student"].sample(2, label=3, guidance=torch.tensor([1.5, 3.0])).shape == (2, 1, 8, 8)


def test_latents(here, monkeypatch):
    pytest.importorskip("diffusers")
    from interop.network.test_diffusers_codec import saved

    draw(here, *(f"faces/{number}" for number in range(20)), side=16)
    saved("kl", here / "sdxl-vae")
    shorten(monkeypatch, um.recipe, "autoencoder", **CODEC)
    shorten(monkeypatch, um.recipe, "latents", **LATENTS)
    names = run_page("latents")
    assert names["model"].codec.latent_shape((3, 16, 16)) == (4, 4, 4)
    assert Image.open("codec.png").size[0] >= 16


def test_training(here, monkeypatch):
    draw(here, *(f"faces/{number}" for number in range(25)))
    images = um.recipe.images

    def short(**given):
        model = images(**given | IMAGES | {"steps": 12, "save_every": 2})
        model.training = replace(model.training, snapshot_every=1)
        return model

    monkeypatch.setattr(um.recipe, "images", short)
    changes = {
        "compile=True, ": "",  # half a minute
        "steps=2000, batch=64": "steps=6, batch=4",
        "picture_every=500": "picture_every=3",
    }
    names = run_page("training", changes=changes, commands={"unmelt average": ""})
    assert names["event"].step == 6
    assert Image.open("student.png").size[0] >= 8
    assert um.load("runs/faces-0.15").sample(1).shape == (1, 3, 8, 8)


@pytest.mark.slow  # an export to ONNX
def test_sharing(here, monkeypatch):
    pytest.importorskip("huggingface_hub")
    diffusers = pytest.importorskip("diffusers")
    pytest.importorskip("onnxruntime")
    from huggingface_hub import constants
    from test_sharing import reach

    faces(here)
    monkeypatch.setenv("HF_TOKEN", fakehub.TOKEN)
    with um.rng.seeded(0):
        unet = diffusers.UNet2DModel(**UNET)
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained("a-saved-ddpm-pipeline")
    commands = {"unmelt export runs/faces --to diffusers": "", "unmelt export runs/faces --to onnx": ""}
    with fakehub.running() as hub:
        reach(monkeypatch, hub.address)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(here / "hub"))
        names = run_page("sharing", commands=commands)
        assert set(hub.files("owner/faces")) >= {"config.json", "model.safetensors", "README.md"}
    assert (here / "faces-shared" / "README.md").is_file()
    assert names["images"].shape == (4, 3, 8, 8)
    assert names["denoiser"].shape == (1, 8, 8)


def test_serving(here, monkeypatch):
    pytest.importorskip("openai")
    pytest.importorskip("uvicorn")
    pytest.importorskip("multipart")
    from serve.running import served
    from serve.speaker import speaker

    draw(here, "cat", "mask", "edges", side=32)
    books(here)
    text = um.recipe.text(folder="books", **TEXT)
    edges = um.recipe.control(start="digits", control="edges", **SHORT)
    models = {"emoji": um.load("emoji", "cpu"), "books": text, "digits-edges": edges, "speech": speaker()}
    with served(models, um.serve.ServerSettings()) as address:
        names = run_page("serving", changes={"http://127.0.0.1:8000": address})
    assert names["job"].result().shape == (4, 3, 32, 32)
