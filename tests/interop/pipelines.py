"""Tiny pipelines of diffusers' own classes with random weights, and the way to sample ours from the same noise."""

import string

import pytest
import torch

import unmelt as um
from unmelt.rng import RowSeeds

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

TOKENS = 8
START, END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer():
    """A tokenizer of letters."""
    letters = [*string.ascii_lowercase, *(f"{each}</w>" for each in string.ascii_lowercase)]
    vocabulary = {name: place for place, name in enumerate([*letters, START, END])}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS)


def clip(kind="CLIPTextModel", width=16, projected=12, seed=1):
    """A text encoder, whose weights are large enough for prompts to matter."""
    config = transformers.CLIPTextConfig(
        vocab_size=len(clip_tokenizer()),
        hidden_size=width,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        projection_dim=projected,
        bos_token_id=len(clip_tokenizer()) - 2,
        eos_token_id=len(clip_tokenizer()) - 1,
        pad_token_id=len(clip_tokenizer()) - 1,
    )
    with um.rng.seeded(seed):
        return larger(getattr(transformers, kind)(config).eval())


def larger(network, size=0.3, seed=0):
    """Weights of one size, so that nothing is zero, and every input changes the output."""
    with um.rng.seeded(seed), torch.no_grad():
        for weight in network.parameters():
            weight.copy_(size * torch.randn_like(weight) / max(1, weight[0].numel()) ** 0.5 * 2 + (weight.ndim == 1))
    return network.eval()


def autoencoder(channels=4, seed=2, **settings):
    with um.rng.seeded(seed):
        return diffusers.AutoencoderKL(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            latent_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            **settings,
        ).eval()


def conditional_unet(width=16, attends=(False, True), **settings):
    down = ["CrossAttnDownBlock2D" if each else "DownBlock2D" for each in attends]
    up = ["CrossAttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attends)]
    return larger(
        diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            cross_attention_dim=width,
            attention_head_dim=2,
            **settings,
        )
    )


def stable_diffusion(scheduler, attends=(False, True)):
    return diffusers.StableDiffusionPipeline(
        unet=conditional_unet(attends=attends),
        vae=autoencoder(scaling_factor=0.18),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def control_net(unet, seed, **settings):
    """A ControlNet for a UNet, none of whose outputs are zero."""
    shared = ("in_channels", "cross_attention_dim", "block_out_channels", "layers_per_block", "down_block_types")
    shared += ("norm_num_groups", "attention_head_dim", "addition_embed_type", "addition_time_embed_dim")
    shared += ("projection_class_embeddings_input_dim",)
    given = {name: unet.config[name] for name in shared} | settings
    return larger(diffusers.ControlNetModel(**given, conditioning_embedding_out_channels=(4, 8)), seed=seed)


def t2i_adapter(seed, channels=(8, 16), **settings):
    adapter = diffusers.T2IAdapter(channels=list(channels), num_res_blocks=1, downscale_factor=2, **settings)
    return larger(adapter, seed=seed)


def noise(shape, rows=2, seed=5):
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def walked(model, x, times, sampler, condition=None, guidance=1.0):
    """Our sampler from x at the first time to the last."""
    denoiser = model.denoiser if guidance == 1 else um.guidance.CFG(model.denoiser, guidance)
    knots = [time.expand(len(x)) for time in times]
    state = sampler.init(denoiser, x, knots[0], RowSeeds.of(0, len(x)), condition)
    *_, last = um.sampler.walk(denoiser, sampler, state, knots[1:])
    return last.x


def called(pipeline, **settings):
    """The latents that a pipeline of diffusers ends with."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(output_type="latent", return_dict=False, **settings)[0]


def difference(made, wanted):
    """The largest difference of two tensors, in units of the largest number, where that is above 1."""
    assert made.shape == wanted.shape
    return (made - wanted).abs().max() / wanted.abs().max().clamp_min(1)


def stable_diffusion_xl(scheduler, zeros=True, attends=(False, True)):
    network = conditional_unet(
        width=28,
        attends=attends,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 12,
    )
    return diffusers.StableDiffusionXLPipeline(
        unet=network,
        vae=autoencoder(scaling_factor=0.13),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip("CLIPTextModelWithProjection", width=12, projected=12, seed=3),
        tokenizer_2=clip_tokenizer(),
        scheduler=scheduler,
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )


def t5_tokenizer():
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(each, -3.0) for each in string.ascii_lowercase]
    return transformers.T5Tokenizer(vocab=pieces, extra_ids=0)


def t5(width=32, seed=4):
    config = transformers.T5Config(
        vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    with um.rng.seeded(seed):
        return larger(transformers.T5EncoderModel(config).eval())


def stable_diffusion_3(scheduler, with_t5=True):
    network = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=20,
        pos_embed_max_size=16,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=larger(network),
        scheduler=scheduler,
        vae=autoencoder(scaling_factor=1.5, shift_factor=0.06),
        text_encoder=clip("CLIPTextModelWithProjection", width=16, projected=12),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip("CLIPTextModelWithProjection", width=12, projected=8, seed=3),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5() if with_t5 else None,
        tokenizer_3=t5_tokenizer() if with_t5 else None,
    )


TEMPLATE = (
    "{% for each in messages %}<|u|>{{ each['content'] }}{% endfor %}<|a|>{% if not enable_thinking %}<|n|>{% endif %}"
)


def qwen(depth=2, width=16, seed=6, kind="Qwen3ForCausalLM"):
    """(a language model, its tokenizer of bytes with a chat template)."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = {letter: place for place, letter in enumerate(sorted(ByteLevel.alphabet()))}
    special = {name: len(letters) + place for place, name in enumerate(("<|endoftext|>", "<|u|>", "<|a|>", "<|n|>"))}
    tokenizer = transformers.Qwen2Tokenizer(vocab=letters | special, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|u|>", "<|a|>", "<|n|>"]})
    tokenizer.chat_template = TEMPLATE
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=24,
        num_hidden_layers=depth,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=600,
    )
    with um.rng.seeded(seed):
        return larger(getattr(transformers, kind)(config).eval()), tokenizer


def flux2(scheduler):
    network = diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=3 * 16,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=False,
    )
    with um.rng.seeded(2):
        codec = diffusers.AutoencoderKLFlux2(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ).eval()
        codec.bn.running_mean.copy_(torch.randn(16))
        codec.bn.running_var.copy_(0.5 + torch.rand(16))
    model, tokenizer = qwen(28)
    return diffusers.Flux2KleinPipeline(scheduler, codec, model, tokenizer, larger(network))


def z_image(scheduler):
    network = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=(8, 4, 4),
        axes_lens=(256, 32, 32),
    )
    model, tokenizer = qwen(kind="Qwen3Model")
    codec = autoencoder(scaling_factor=0.36, shift_factor=0.11)
    return diffusers.ZImagePipeline(scheduler, codec, model, tokenizer, larger(network))
