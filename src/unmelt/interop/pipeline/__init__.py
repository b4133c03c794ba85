"""Pipelines that diffusers saved, as models: the folder and its download, and one family of pipelines a file."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.interop.pipeline.from_diffusers import from_diffusers
    from unmelt.interop.pipeline.load_diffusers import load_diffusers
    from unmelt.interop.pipeline.times import pipeline_times

__all__ = [
    "from_diffusers",
    "load_diffusers",
    "pipeline_times",
]

publish(__name__)
