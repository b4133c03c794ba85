"""Compare autoregression and diffusion side by side, with every number measured in the same run."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.compare.report import Report, compare

__all__ = ["Report", "compare"]

publish(__name__)
