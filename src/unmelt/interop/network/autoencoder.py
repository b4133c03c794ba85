"""diffusers' autoencoders of images as codecs: AutoencoderKL, that of Flux 2, AutoencoderDC and AutoencoderTiny.

diffusers keeps how latents are normalised in the network's settings, and leaves it to each pipeline to apply them:

    z = (latent - shift_factor) scaling_factor,      or   z = (latent - latents_mean) scaling_factor / latents_std

Here the codec applies them, so that z is what a diffusion network of that pipeline sees. Latents of Flux 2 are patches
of 2 x 2 places, normalised by moments that the network keeps as those of a batch norm.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.call_repr import CallRepr
from unmelt.codec.image_stages import coarse_sides
from unmelt.errors import UsageError
from unmelt.interop.diffusers_files import fill, read_json
from unmelt.interop.network.settings import make_network
from unmelt.rng import Random

KINDS = ("AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderDC", "AutoencoderTiny")
"""Classes of diffusers that are codecs here."""

OWN_NOTES = {"AutoencoderTiny": ("block_out_channels",)}
"""Entries of config.json that a class adds to its settings, for others to read."""


class DiffusersCodec(CallRepr, nn.Module):
    """An autoencoder of diffusers: images in [0, 1] to latents as its diffusion network sees them, and back.

    Args:
        kind: Its class: AutoencoderKL, AutoencoderKLFlux2, AutoencoderDC or AutoencoderTiny.
        settings: Arguments of the class.

    Raises:
        UsageError: If there is no such class here, or it does not take the settings.
    """

    def __init__(self, kind: str, settings: Mapping[str, Any] | Sequence[tuple[str, Any]]) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UsageError(f"an autoencoder of class {kind}", f"one of {', '.join(KINDS)}", "another checkpoint")
        self.kind = kind
        self.network, self.settings = make_network(kind, settings)
        self.eval()

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return int(self.network.config.in_channels)

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return int(self.network.config.latent_channels) * self.patch**2

    @property
    def patch(self) -> int:
        """Sides of the patches that latents are made of."""
        return 2 if self.kind == "AutoencoderKLFlux2" else 1

    @property
    def factor(self) -> int:
        """By what sides of images are divided."""
        if self.kind == "AutoencoderDC":
            return int(self.network.spatial_compression_ratio)
        name = "block_out_channels" if self.kind.startswith("AutoencoderKL") else "encoder_block_out_channels"
        return self.patch * 2 ** (len(self.network.config[name]) - 1)

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (self.latent_channels, *coarse_sides(shape, self.channels, self.factor))

    def data_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of images that are encoded to latents of a shape.

        Args:
            shape: [latent_channels, height, width], of one row of latents.

        Returns:
            The shape of one image.
        """
        return (self.channels, *(self.factor * side for side in shape[1:]))

    def encode(
        self, x: Float[Tensor, "rows channels h w"], rng: Random | None = None
    ) -> Float[Tensor, "rows latents latent_h latent_w"]:
        self.latent_shape(x.shape[1:])
        found = self.network.encode(2 * x.to(self.network.dtype) - 1)
        if not self.kind.startswith("AutoencoderKL"):
            return self._normalised(found.latent if self.kind == "AutoencoderDC" else found.latents)
        law = found.latent_dist
        noise = 0.0 if rng is None else law.std * rng.normal(law.mean.shape).to(law.mean)
        return self._normalised(law.mean + noise)

    def decode(self, z: Float[Tensor, "rows latents h w"]) -> Float[Tensor, "rows channels image_h image_w"]:
        mean, scale = self._mean_and_scale(z)
        latent = F.pixel_shuffle(z / scale + mean, self.patch)
        made = self.network.decode(latent.to(self.network.dtype)).sample
        return ((made.float() + 1) / 2).clamp(0, 1)

    def _normalised(self, latent: Tensor) -> Tensor:
        latent = F.pixel_unshuffle(latent, self.patch)
        mean, scale = self._mean_and_scale(latent)
        return ((latent - mean) * scale).float()

    def _mean_and_scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        known = self.network.config
        if self.kind == "AutoencoderKLFlux2":
            moments = self.network.bn
            sd = torch.sqrt(moments.running_var.float() + known.batch_norm_eps)
            return moments.running_mean.float().view(-1, 1, 1), 1 / sd.view(-1, 1, 1)
        mean, sd = known.get("latents_mean"), known.get("latents_std")
        shift = torch.tensor(mean or [known.get("shift_factor") or 0.0], dtype=torch.float32, device=like.device)
        scale = torch.tensor([known.get("scaling_factor") or 1.0], dtype=torch.float32, device=like.device)
        if sd:
            scale = scale / torch.tensor(sd, dtype=torch.float32, device=like.device)
        return shift.view(-1, 1, 1), scale.view(-1, 1, 1)


def codec_from_diffusers(folder: str | Path) -> DiffusersCodec:
    """Load an autoencoder that diffusers saved, alone or as the `vae` of a pipeline.

    Args:
        folder: The folder, with config.json and safetensors weights; or that of a pipeline, with vae/.

    Returns:
        The codec, in evaluation mode.

    Raises:
        UsageError: If files are missing or damaged, or it is of a class that is not supported.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file() and (folder / "vae").is_dir():
        folder = folder / "vae"
    about = read_json(folder / "config.json")
    kind = str(about.get("_class_name"))
    settings = {k: v for k, v in about.items() if not k.startswith("_") and k not in OWN_NOTES.get(kind, ())}
    codec = DiffusersCodec(kind, settings)
    fill(codec.network, folder)
    return codec.eval().requires_grad_(False)


def is_diffusers_codec(folder: Path) -> bool:
    """Whether diffusers saved an autoencoder, or a pipeline with one, in a folder.

    Args:
        folder: The folder.

    Returns:
        True if there is the description of one.
    """
    own, of_pipeline = folder / "config.json", folder / "vae" / "config.json"
    try:
        return of_pipeline.is_file() or "_class_name" in read_json(own)
    except UsageError:
        return False
