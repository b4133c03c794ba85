"""Every part round-trips through its description; descriptions of anything else are refused."""

import inspect
import json

import pytest
import torch
from jaxtyping import config as checks
from torch import nn

import unmelt as um
from unmelt import config
from unmelt.condition import Condition

TOKENS = (um.denoiser.Autoregressive, um.denoiser.Blockwise, um.denoiser.TokenDenoiser)

CROSS = {"block_out_channels": (8,), "norm_num_groups": 4, "down_block_types": ("CrossAttnDownBlock2D",)}
CROSS |= {"up_block_types": ("CrossAttnUpBlock2D",), "layers_per_block": 1, "cross_attention_dim": 8}
NETWORKS = {"DiffusersConditionalUNet": CROSS | {"attention_head_dim": 2}}
NETWORKS["DiffusersDiT"] = {"num_attention_heads": 2, "attention_head_dim": 4, "num_layers": 1, "sample_size": 4}
SD3 = {"num_attention_heads": 2, "attention_head_dim": 4, "num_layers": 1, "sample_size": 4, "in_channels": 4}
SD3 |= {"joint_attention_dim": 8, "caption_projection_dim": 8, "pooled_projection_dim": 8, "pos_embed_max_size": 8}
NETWORKS["DiffusersSD3"] = SD3
NETWORKS["DiffusersControlNet"] = {"block_out_channels": (8, 8), "down_block_types": ("DownBlock2D",) * 2}
NETWORKS["DiffusersControlNet"] |= {"norm_num_groups": 4, "cross_attention_dim": 8, "attention_head_dim": 2}
NETWORKS["DiffusersT2IAdapter"] = {"channels": (8, 8), "downscale_factor": 2}
FLUX2 = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "num_single_layers": 1, "in_channels": 16}
FLUX2 |= {"joint_attention_dim": 8, "guidance_embeds": False, "axes_dims_rope": (2, 2, 2, 2)}
Z_IMAGE = {"in_channels": 4, "dim": 16, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2}
Z_IMAGE |= {"cap_feat_dim": 8, "axes_dims": (4, 2, 2), "axes_lens": (64, 32, 32)}
NETWORKS |= {"DiffusersFlux2": FLUX2, "DiffusersZImage": Z_IMAGE}
"""Settings of networks of diffusers, by the class of the backbone."""

GIVEN = {
    "alphabet": " abc",
    "sequence_width": 4,
    "bands": 4,
    "mel": um.codec.Mel(sample_rate=4000, n_fft=64, hop=16, bands=4),
    "shape": (2,),
    "folder": "a-folder-that-is-not-there",
    "path": "a-file-that-is-not-there.gguf",
    "channels": 1,
    "frames": 3,
    "input_vocabulary": 5,
    "vocabulary": 4,
    "length": 6,
    "merges": ("a b", "ab c"),
    "letters": "abc",
    "patch": 2,
    "size": (4, 4),
    "width": 8,
    "depth": 1,
    "tokenizer": "0123abcd",
    "weights": "4567abcd",
    "heads": 2,
    "space": 2,
    "steps": 3,
    "sample_rate": 8000,
    "spacing": um.grid.Karras(),
    "grid": um.grid.uniform(4),
    "knots": (1.0, 0.5),
    "fractions": (1.0, 0.5),
    "mean": (0.5, -1.0),
    "sd": (2.0, 0.1),
    "objective": um.objective.NELBO(),
    "schedule": um.schedule.Cosine(),
    "of": um.objective.Uniform(),
    "betas": um.interop.Betas(),
    "settings": (
        ("block_out_channels", (8, 8)),
        ("norm_num_groups", 4),
        ("layers_per_block", 1),
        ("down_block_types", ("DownBlock2D",) * 2),
        ("up_block_types", ("UpBlock2D",) * 2),
    ),
    "process": um.process.Gaussian(um.schedule.Straight()),
    "bound": um.denoiser.Clip(),
    "prediction": um.prediction.V(),
    "base": um.denoiser.GaussianMixtureDenoiser(um.process.Gaussian(um.schedule.Straight()), (2,)),
    "denoiser": um.denoiser.NetworkDenoiser(
        um.backbone.MLP(shape=(2,), width=8, depth=1),
        um.process.Gaussian(um.schedule.Straight()),
        um.prediction.V(),
        (2,),
    ),
}
"""Values of constructor arguments that have no default."""


GEMMA = {
    "text_config": {
        "vocab_size": 9,
        "hidden_size": 8,
        "intermediate_size": 8,
        "moe_intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_global_key_value_heads": 1,
        "head_dim": 4,
        "global_head_dim": 4,
        "num_experts": 2,
        "top_k_experts": 1,
        "layer_types": ["full_attention"],
    },
    "vision_config": {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2},
    "canvas_length": 4,
}
"""Settings of a small DiffusionGemma."""


def made(name):
    """A part by its name: required arguments from `GIVEN`, networks around a small backbone."""
    cls = config.part(name)
    needed = [p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty]
    if "backbone" in needed:
        small = {"shape": (2,), "width": 8, "depth": 1, "vector_width": 2}
        GIVEN["backbone"] = um.backbone.MLP(**small, with_arrival=name.endswith("FlowMap"))
    if cls is um.interop.DiffusersCodec:
        return cls("AutoencoderTiny", {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4})
    if cls is um.codec.PretrainedTokenizer:
        return cls(size=2, vocabulary=4, end=2, padding=3)
    if cls is um.interop.BlockLanguageNetwork:
        return cls(made("interop.LanguageNetwork"), 2)
    if cls is um.interop.LanguageNetwork:
        small = {"vocab_size": 5, "hidden_size": 8, "intermediate_size": 8}
        small |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 8}
        given = {"settings": json.dumps(small), "vocabulary": 4, "mask_token": 4, "length": 6, "shifted": True}
        return cls(architecture="LlamaForCausalLM", **given, before=(1,))
    if cls in (um.interop.CanvasDenoiser, um.interop.CanvasNetwork):
        network = um.interop.CanvasNetwork(settings=json.dumps(GEMMA), vocabulary=9, length=4, before=(1,))
        return cls(network, um.process.Uniform(9), (4,)) if cls is um.interop.CanvasDenoiser else network
    if cls is um.drafting.DraftNetwork:
        return cls(width=8, layers=(1, 2), heads=2)
    if cls in TOKENS:
        small = um.backbone.Transformer(input_vocabulary=5, vocabulary=4, length=6, width=8, depth=1, heads=2, block=1)
        return cls(small, um.process.Mask(4), (6,))
    if cls is um.denoiser.JointTokenDenoiser:
        small = um.backbone.Transformer(input_vocabulary=5, vocabulary=4, length=6, width=8, depth=1, heads=2)
        return cls(small, um.backbone.TokenHead(vocabulary=4, width=8, heads=2), um.process.Mask(4), (6,))
    unknown = [argument for argument in needed if argument not in GIVEN]
    if unknown:
        pytest.fail(f"{name} needs {unknown}: add them to GIVEN")
    given = GIVEN | ({"settings": NETWORKS[cls.__name__]} if cls.__name__ in NETWORKS else {})
    return cls(**{argument: given[argument] for argument in needed})


def names():
    """Unmelt's own parts, and none that another test has registered."""
    return sorted(name for name in config.part_names() if config.part(name).__module__.startswith("unmelt."))


def test_every_package_of_parts_is_listed():
    packages = {name.split(".")[0] for name in names()}
    assert packages >= {"schedule", "process", "prediction", "backbone", "codec", "objective", "grid", "sampler"}
    for name in ("schedule.Cosine", "sampler.DPMpp", "backbone.UNet", "denoiser.NetworkDenoiser", "train.Training"):
        assert name in names()


def pytest_generate_tests(metafunc):
    if "part_name" in metafunc.fixturenames:
        metafunc.parametrize("part_name", names())


def test_every_part_round_trips_through_its_description(part_name):
    part = made(part_name)
    description = config.describe(part)
    assert description["part"] == part_name
    again = config.build(json.loads(json.dumps(description)))
    assert type(again) is type(part)
    assert config.describe(again) == description
    if isinstance(part, nn.Module):
        assert {n: w.shape for n, w in again.state_dict().items()} == {n: w.shape for n, w in part.state_dict().items()}
    elif not any(isinstance(getattr(part, name), nn.Module) for name in description if name != "part"):
        assert again == part


def test_arguments_other_than_the_defaults_round_trip():
    """Settings that are not the defaults, one of each kind of value."""
    part = um.objective.Regression(
        times=um.objective.Stratified(um.objective.LogNormalSigma(mean=-0.3, sd=0.7)),
        weight=um.objective.EDMWeight(0.25),
        drop=0.125,
    )
    assert config.build(config.describe(part)) == part
    unet = um.backbone.UNet(channels=3, width=8, multipliers=(1, 3), blocks=1, attention=(True, False), classes=4)
    described = config.describe(unet)
    assert (described["multipliers"], described["attention"], described["classes"]) == ([1, 3], [True, False], 4)
    assert config.describe(config.build(described)) == described
    assert config.build(config.describe(um.codec.Affine(0.1, 0.2, (0.0, 1.0)))) == um.codec.Affine(0.1, 0.2, (0.0, 1.0))
    assert config.build(config.describe(None)) is None


# Parts of a user


@config.register
class Half(nn.Module):
    """A backbone of a user."""

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = factor
        self.weight = nn.Parameter(torch.tensor(factor))

    def forward(self, x: torch.Tensor, level: torch.Tensor, condition: Condition | None = None) -> torch.Tensor:
        return self.weight * x


class Stranger(nn.Module):
    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(factor))

    def forward(self, x: torch.Tensor, level: torch.Tensor, condition: Condition | None = None) -> torch.Tensor:
        return self.weight * x


def user_model(backbone):
    return um.Model(
        denoiser=um.denoiser.NetworkDenoiser(
            backbone, um.process.Gaussian(um.schedule.Cosine()), um.prediction.V(), (2,)
        ),
        codec=um.codec.Affine(),
        sampler=um.sampler.DDIM(),
        grid=um.grid.uniform(5),
        objective=um.objective.Regression(),
        training=um.train.Training(steps=3, batch=4),
        source=um.data.Checkerboard(),
    )


def test_a_registered_part_is_saved_and_loaded(tmp_path):
    model = user_model(Half(0.25)).fit(tmp_path, device="cpu", quiet=True)
    again = um.load(tmp_path, device="cpu")
    assert isinstance(again.denoiser.backbone, Half)
    assert again.denoiser.backbone.factor == 0.25
    assert torch.equal(model.sample(5), again.sample(5))


def test_a_model_that_cannot_be_saved_is_refused_before_training(tmp_path):
    model = user_model(Stranger())
    with pytest.raises(um.UsageError, match=r"Stranger.*config\.register"):
        model.fit(tmp_path / "x", device="cpu", quiet=True)
    assert not (tmp_path / "x").exists()
    config.register(Stranger)
    with pytest.raises(um.UsageError, match=r"Stranger without the attribute 'factor'.*self.factor = factor"):
        model.fit(tmp_path / "x", device="cpu", quiet=True)


# What is not a part


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ({"part": "schedule.Cosin"}, "schedule.Cosine"),
        ({"part": "os.system", "command": "true"}, "'os.system'"),
        ({"part": None}, "None"),
        ({}, "None"),
        ({"part": "process.Gaussian"}, "exactly"),
        ({"part": "schedule.Cosine", "extra": 1}, "exactly"),
        ({"part": "sampler.DPMpp", "order": 7}, "order"),
        ({"part": "schedule.VarianceExploding", "sigma_min": "a", "sigma_max": 80.0}, "sigma_min=.a."),
        ({"part": "schedule.VarianceExploding", "sigma_min": 80.0, "sigma_max": {"part": "x"}}, "'x'"),
        ({"part": "codec.Affine", "shift": 0.0, "scale": -1.0, "clamp": None}, "scale=-1.0"),
        ({"part": "codec.Affine", "shift": 0.0, "scale": 1.0, "clamp": [1.0]}, "clamp="),
    ],
)
def test_invalid_descriptions_are_refused(monkeypatch, description, said):
    monkeypatch.setattr(checks, "jaxtyping_disable", True)
    with pytest.raises(um.UsageError, match=said):
        config.build(description)


def test_an_unhashable_part_name_is_refused():
    with pytest.raises(um.UsageError):
        config.build({"part": ["schedule.Cosine"]})


def test_a_value_without_a_json_form_is_refused():
    with pytest.raises(um.UsageError, match="set"):
        config.describe({1, 2})
