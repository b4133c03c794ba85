"""diffusers' autoencoders as codecs: latents as its pipelines scale them, from safetensors and JSON alone."""

import json

import pytest
import torch
from rectangles import draw_rectangles

import unmelt as um
from unmelt import config
from unmelt.codec import Codec
from unmelt.interop import codec_from_diffusers
from unmelt.rng import Stream

diffusers = pytest.importorskip("diffusers")

SIZES = {"block_out_channels": (8, 8, 16), "norm_num_groups": 4, "latent_channels": 4}
TWO = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
DC = {"encoder_block_out_channels": (8, 16), "decoder_block_out_channels": (8, 16), "latent_channels": 4}
DC |= {"encoder_layers_per_block": (1, 1), "decoder_layers_per_block": (1, 1), "attention_head_dim": 8}
DC |= {"encoder_block_types": ("ResBlock",) * 2, "decoder_block_types": ("ResBlock",) * 2}
DC |= {"encoder_qkv_multiscales": ((), ()), "decoder_qkv_multiscales": ((), ())}
TINY = {"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8), "latent_channels": 4}
TINY |= {"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)}
CASES = {
    "kl": ("AutoencoderKL", {**SIZES, **TWO, "scaling_factor": 0.18}),
    "kl, shifted": ("AutoencoderKL", {**SIZES, **TWO, "scaling_factor": 0.36, "shift_factor": 0.12}),
    "kl, by channels": (
        "AutoencoderKL",
        {
            **SIZES,
            **TWO,
            "scaling_factor": 0.5,
            "latents_mean": (0.1, -0.2, 0.3, 0.0),
            "latents_std": (1.0, 2.0, 0.5, 3.0),
        },
    ),
    "dc": ("AutoencoderDC", {**DC, "scaling_factor": 0.41}),
    "tiny": ("AutoencoderTiny", {**TINY, "scaling_factor": 1.0}),
}


def saved(name, folder):
    kind, settings = CASES[name]
    with um.rng.seeded(0):
        network = getattr(diffusers, kind)(**settings).eval()
    network.save_pretrained(folder)
    return network


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_latents_are_those_that_a_pipeline_hands_to_its_network(name, tmp_path):
    network, codec = saved(name, tmp_path), codec_from_diffusers(tmp_path)
    assert isinstance(codec, Codec)
    x = Stream(0).uniform((2, 3, 16, 8))
    found = network.encode(2 * x - 1)
    latent = found.latent_dist.mean if "kl" in name else found[0]
    known = network.config
    if known.get("latents_mean"):
        mean, sd = (torch.tensor(known[each]).view(-1, 1, 1) for each in ("latents_mean", "latents_std"))
        exact = (latent - mean) * known.scaling_factor / sd
    else:
        exact = (latent - (known.get("shift_factor") or 0.0)) * known.scaling_factor
    z = codec.encode(x)
    assert torch.allclose(z, exact, atol=1e-6)
    assert codec.latent_shape(x.shape[1:]) == tuple(z.shape[1:])
    made = (network.decode(latent).sample + 1) / 2
    assert torch.allclose(codec.decode(z), made.clamp(0, 1), atol=1e-5)


def test_noise_of_latents_is_that_of_their_law(tmp_path):
    network, codec = saved("kl", tmp_path), codec_from_diffusers(tmp_path)
    x = Stream(0).uniform((1, 3, 8, 8))
    with torch.no_grad():
        law = network.encode(2 * x - 1).latent_dist
        draws = torch.cat([codec.encode(x, Stream(seed)) for seed in range(300)]) / 0.18
    assert ((draws.mean(0) - law.mean[0]) / law.std[0] * 300**0.5).abs().max() < 4.5
    assert (draws.std(0) / law.std[0] - 1).abs().max() < 0.25


def test_it_is_part_of_a_model_that_is_saved_and_loaded(tmp_path):
    saved("kl", tmp_path / "vae")
    codec = codec_from_diffusers(tmp_path)  # a pipeline's folder
    assert config.build(json.loads(json.dumps(config.describe(codec)))).settings == codec.settings
    backbone = um.backbone.DiT(channels=4, size=(4, 4), width=16, depth=1, heads=2)
    model = um.Model(
        denoiser=um.denoiser.NetworkDenoiser(
            backbone, um.process.Gaussian(um.schedule.Straight()), um.prediction.FlowVelocity(), (4, 4, 4)
        ),
        codec=codec,
        modality=um.modality.Images(),
        grid=um.grid.uniform(2),
    )
    model.save(tmp_path / "run")
    again = um.load(tmp_path / "run", "cpu")
    assert torch.equal(again.sample(2, seed=0), model.sample(2, seed=0))
    assert again.sample(2, seed=0).shape == (2, 3, 16, 16)


def test_the_recipe_of_latents_takes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    saved("tiny", tmp_path / "vae")
    (tmp_path / "images").mkdir()
    draw_rectangles(tmp_path / "images")
    model = um.recipe.latents(
        folder=tmp_path / "images",
        codec=tmp_path / "vae",
        size=16,
        width=16,
        depth=1,
        heads=2,
        batch=4,
        steps=2,
        picture_every=0,
    ).fit(tmp_path / "run", "cpu", quiet=True)
    assert um.load(tmp_path / "run", "cpu").sample(1, steps=2, seed=0).shape == (1, 3, 16, 16)
    assert model.denoiser.shape == (4, 4, 4)


def test_what_cannot_be_used_is_said(tmp_path):
    saved("kl", tmp_path)
    with pytest.raises(um.UsageError, match="multiples of 4"):
        codec_from_diffusers(tmp_path).encode(torch.zeros(1, 3, 10, 8))
    about = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    for changed, said in [
        ({"_class_name": "VQModel"}, "an autoencoder of class VQModel; one of AutoencoderKL"),
        ({"strange": 1}, "AutoencoderKL has no setting 'strange'"),
        ({"block_out_channels": [8, 8, 32]}, "does not fit the network"),
    ]:
        (tmp_path / "config.json").write_text(json.dumps(about | changed), encoding="utf-8")
        with pytest.raises(um.UsageError, match=said):
            codec_from_diffusers(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(about), encoding="utf-8")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(um.UsageError, match=r"damaged|cut short|not whole|cannot be read"):
        codec_from_diffusers(tmp_path)
    weights.rename(tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(um.UsageError, match=r"a pickle .* is never opened"):
        codec_from_diffusers(tmp_path)
    with pytest.raises(um.UsageError, match="there is no"):
        codec_from_diffusers(tmp_path / "nowhere")
