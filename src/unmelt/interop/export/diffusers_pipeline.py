"""The pipeline of an exported model: noise, the scheduler's steps, an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor


class UnmeltPipeline(DiffusionPipeline):
    """Image generation with a denoiser and a scheduler.

    Args:
        denoiser: The model, an `UnmeltDenoiser`.
        scheduler: A diffusers scheduler of the denoiser's convention.
        decoder: An `UnmeltDecoder` of latents; None for a model of pixels.
        steps: Default number of steps.
        shift: With scale, maps the denoiser's data to pixels: shift + scale x.
        scale: See shift.
        low: Lower bound of the pixels; None for no clamping.
        high: Upper bound of the pixels.
        sigmas: The levels of the default steps, for a scheduler that is given them; None for one that knows them.
    """

    _optional_components = ["decoder"]  # noqa: RUF012  diffusers' own name and form

    def __init__(
        self,
        denoiser: Any,
        scheduler: Any,
        decoder: Any = None,
        steps: int = 20,
        shift: float = 0.5,
        scale: float = 0.5,
        low: float | None = 0.0,
        high: float | None = 1.0,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(denoiser=denoiser, scheduler=scheduler, decoder=decoder)
        self.register_to_config(steps=steps, shift=shift, scale=scale, low=low, high=high, sigmas=sigmas)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        class_labels: int | Sequence[int] | None = None,
        guidance_scale: float = 1.0,
        num_inference_steps: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """Generate images.

        Args:
            batch_size: Number of images.
            class_labels: Class number, one for all or one for each image; None for no class.
            guidance_scale: Classifier-free guidance scale; 1 is unguided.
            num_inference_steps: Number of steps; None for the default.
            generator: Source of the noise.
            latents: Standard normal noise to start from instead.
            output_type: "pil", "np" or "pt".
            return_dict: Return an `ImagePipelineOutput` rather than a tuple.

        Returns:
            The images.
        """
        about, device, dtype = self.denoiser.config, self._execution_device, self.denoiser.dtype
        steps = num_inference_steps or self.config.steps
        shape = (batch_size, *(about.description.get("base") or about.description)["shape"])
        if about.convention == "edm":
            self.scheduler.set_timesteps(steps, device=device)
        else:
            u = np.linspace(about.start, 0, steps + 1)[:-1]
            if self.config.sigmas is not None and len(self.config.sigmas) == steps:
                u = np.asarray(self.config.sigmas)
            self.scheduler.set_timesteps(sigmas=u.tolist(), device=device)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
        x = latents.to(device, dtype) * self.scheduler.sigmas[0].to(device, dtype)
        labels = None if class_labels is None else torch.as_tensor(class_labels, device=device).expand(len(x))
        extra = {"guidance": guidance_scale} if about.guided else {}
        for k, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            seen = self.scheduler.scale_model_input(x, t) if about.convention == "edm" else x
            if about.jumps:
                extra["arrival"] = 1000 * self.scheduler.sigmas[k + 1]
            output = self.denoiser(seen, t, labels, **extra)
            if labels is not None and guidance_scale != 1 and not about.guided:
                null = torch.full_like(labels, -1)
                output = torch.lerp(self.denoiser(seen, t, null, **extra), output, guidance_scale)
            x = self.scheduler.step(output, t, x).prev_sample
        images = self.config.shift + self.config.scale * (x if self.decoder is None else self.decoder(x))
        if self.config.low is not None:
            images = images.clamp(self.config.low, self.config.high)
        if output_type != "pt":
            images = images.float().cpu().permute(0, 2, 3, 1).numpy()
            images = self.numpy_to_pil(images.clip(0, 1)) if output_type == "pil" else images
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)
