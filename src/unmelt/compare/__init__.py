"""Compare autoregression and diffusion side by side, with every number measured in the same run."""

from unmelt.compare.page import Page, compare

__all__ = ["Page", "compare"]
