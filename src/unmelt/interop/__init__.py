"""Models of other libraries in, and this one's models out.

pipeline        pipelines that diffusers saved, as models
network         their networks: autoencoders, U-Nets, transformers, control networks
text_encoder    their text encoders
scheduler       their schedulers: schedule, prediction and times; betas: DDPM's chain
language        language models of transformers
export          this library's models, for diffusers and for ONNX
"""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.betas import Betas
    from unmelt.interop.export import sampler_for_export, to_diffusers, to_onnx
    from unmelt.interop.language import (
        BlockLanguageNetwork,
        CanvasDenoiser,
        CanvasNetwork,
        LanguageModel,
        LanguageNetwork,
        from_transformers,
        read_language_model,
    )
    from unmelt.interop.network import (
        DiffusersCodec,
        DiffusersConditionalUNet,
        DiffusersControlNet,
        DiffusersDiT,
        DiffusersFlux2,
        DiffusersSD3,
        DiffusersT2IAdapter,
        DiffusersUNet,
        DiffusersZImage,
        codec_from_diffusers,
    )
    from unmelt.interop.pipeline import from_diffusers, load_diffusers, pipeline_times
    from unmelt.interop.scheduler import ResolutionShift
    from unmelt.interop.text_encoder import ChatText, StableDiffusion3Text, StableDiffusionText, StableDiffusionXLText

__all__ = [
    "Betas",
    "BlockLanguageNetwork",
    "CanvasDenoiser",
    "CanvasNetwork",
    "ChatText",
    "DiffusersCodec",
    "DiffusersConditionalUNet",
    "DiffusersControlNet",
    "DiffusersDiT",
    "DiffusersFlux2",
    "DiffusersSD3",
    "DiffusersT2IAdapter",
    "DiffusersUNet",
    "DiffusersZImage",
    "LanguageModel",
    "LanguageNetwork",
    "ResolutionShift",
    "StableDiffusion3Text",
    "StableDiffusionText",
    "StableDiffusionXLText",
    "codec_from_diffusers",
    "from_diffusers",
    "from_transformers",
    "load_diffusers",
    "pipeline_times",
    "read_language_model",
    "sampler_for_export",
    "to_diffusers",
    "to_onnx",
]

publish(__name__)
