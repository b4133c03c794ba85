"""Compare autoregression and diffusion side by side, with every number measured in the same run."""

from unmelt.compare.report import Report, compare

__all__ = ["Report", "compare"]
