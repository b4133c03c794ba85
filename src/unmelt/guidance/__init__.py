"""Steering: denoisers made of denoisers."""

from unmelt.guidance.classifier_free import CFG

__all__ = ["CFG"]
