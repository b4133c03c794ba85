"""Models of this library for others: a folder that diffusers loads, or ONNX files."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.export.to_diffusers import sampler_for_export, to_diffusers
    from unmelt.interop.export.to_onnx import to_onnx

__all__ = [
    "sampler_for_export",
    "to_diffusers",
    "to_onnx",
]

publish(__name__)
