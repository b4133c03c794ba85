"""The honest ledger: autoregression and diffusion side by side, everything measured here and now."""

from unmelt.ledger.page import Page, ledger

__all__ = ["Page", "ledger"]
