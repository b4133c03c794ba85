"""The honest compare: autoregression and diffusion side by side, everything measured here and now."""

from unmelt.compare.page import Page, compare

__all__ = ["Page", "compare"]
