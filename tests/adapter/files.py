"""Tiny networks of diffusers, and adapters with random weights for them in other libraries' own objects."""

import copy
import re
import warnings
from functools import cache

import torch
from torch import nn

import unmelt as um
from unmelt.adapter.dialect import LayerChange

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def unet():
    """A UNet2DConditionModel with the blocks of SDXL, two layers each."""
    return copy.deepcopy(_unet())


@cache
def _unet():
    import diffusers

    with um.rng.seeded(0):
        return diffusers.UNet2DConditionModel(
            sample_size=8,
            in_channels=3,
            out_channels=3,
            layers_per_block=2,
            block_out_channels=(8, 16, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
            cross_attention_dim=8,
            attention_head_dim=4,
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=28,
        ).eval()


def unet_output(network):
    with um.rng.seeded(1):
        x, words = torch.randn(2, 3, 8, 8), torch.randn(2, 5, 8)
        more = {"text_embeds": torch.randn(2, 4), "time_ids": torch.randn(2, 6)}
    with torch.no_grad():
        return network(x, torch.tensor([3, 700]), words, added_cond_kwargs=more).sample


def flux():
    """A FluxTransformer2DModel of width 16 with two double and two single blocks."""
    return copy.deepcopy(_flux())


@cache
def _flux():
    import diffusers

    with um.rng.seeded(0):
        return diffusers.FluxTransformer2DModel(
            in_channels=4,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=6,
            pooled_projection_dim=5,
            guidance_embeds=True,
            axes_dims_rope=(2, 2, 4),
        ).eval()


def flux_output(network):
    with um.rng.seeded(1):
        x, words, pooled = torch.randn(2, 9, 4), torch.randn(2, 3, 6), torch.randn(2, 5)
    with torch.no_grad():
        return network(
            hidden_states=x,
            encoder_hidden_states=words,
            pooled_projections=pooled,
            timestep=torch.tensor([0.3, 0.9]),
            guidance=torch.tensor([1.0, 3.0]),
            img_ids=torch.arange(27).view(9, 3).float(),
            txt_ids=torch.zeros(3, 3),
        ).sample


def random_changes(network, names, rank=2, alpha=3.0, dora=None, seed=2):
    """A change for each of the layers; ranks and alphas differ if they are functions of the layer's number."""
    found, modules = {}, dict(network.named_modules())
    with um.rng.seeded(seed):
        for number, name in enumerate(names):
            weight = modules[name].weight
            r = rank(number) if callable(rank) else rank
            magnitude = None
            if dora is not None:
                axis = 0 if dora == "output" else 1
                norm = weight.detach().transpose(0, axis).flatten(1).norm(dim=1)
                magnitude = norm * (1 + 0.5 * torch.rand_like(norm))
            found[name] = LayerChange(
                A=0.5 * torch.randn(r, *weight.shape[1:]),
                B=0.5 * torch.randn(len(weight), r),
                alpha=float(alpha(number) if callable(alpha) else alpha),
                magnitude=magnitude,
                magnitudes=dora or "output",
            )
    return found


def merged(network, changes, scale=1.0):
    """A copy of the network with W + s (W' - W), written out."""
    made = copy.deepcopy(network)
    for name, change in changes.items():
        weight = made.get_submodule(name).weight.data
        V = weight + change.alpha / len(change.A) * torch.einsum("or,r...->o...", change.B, change.A)
        if change.magnitude is not None:
            axis = 0 if change.magnitudes == "output" else 1
            shape = [-1 if a == axis else 1 for a in range(weight.ndim)]
            others = [a for a in range(weight.ndim) if a != axis]
            V = change.magnitude.view(shape) * V / V.square().sum(others, keepdim=True).sqrt()
        weight += scale * (V - weight)
    return made


def in_peft(network, changes, dora=False, rslora=False):
    """peft's own model with these changes."""
    import peft

    ranks = {f"^{name}": len(change.A) for name, change in changes.items()}
    alphas = {f"^{name}": change.alpha for name, change in changes.items()}
    config = peft.LoraConfig(
        r=1,
        target_modules=f"({'|'.join(map(re.escape, changes))})",  # names in a list would stand for ends of names
        rank_pattern=ranks,
        alpha_pattern=alphas,
        use_dora=dora,
        use_rslora=rslora,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = peft.get_peft_model(copy.deepcopy(network), config)
    put(made.base_model.model, changes, "default")
    return made


@torch.no_grad()
def put(network: nn.Module, changes, adapter):
    """The factors of each change into layers that peft has put into a network."""
    for name, change in changes.items():
        layer = network.get_submodule(name)
        layer.lora_A[adapter].weight.copy_(change.A)
        B = layer.lora_B[adapter].weight
        B.copy_(change.B.view(B.shape))
        if change.magnitude is not None:
            magnitude = layer.lora_magnitude_vector[adapter].weight
            magnitude.copy_(change.magnitude.view(magnitude.shape))


def kohya_keys(changes, prefix="lora_unet_", names=None):
    """The tensors as kohya's scripts write them; `names` are other names than the layers' own."""
    found = {}
    for name, change in changes.items():
        stem = prefix + (names or {}).get(name, name).replace(".", "_")
        kernel = [1] * (change.A.ndim - 2)
        found[f"{stem}.lora_down.weight"] = change.A
        found[f"{stem}.lora_up.weight"] = change.B.view(*change.B.shape, *kernel)
        found[f"{stem}.alpha"] = torch.tensor(change.alpha)
        if change.magnitude is not None:
            shape = [-1, 1, *kernel] if change.magnitudes == "output" else [1, -1, *kernel]
            found[f"{stem}.dora_scale"] = change.magnitude.view(shape)
    return found
