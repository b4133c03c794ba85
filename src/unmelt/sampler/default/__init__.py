"""The default samplers."""

from unmelt.sampler.default.choice import adams, default_sampler, learned
from unmelt.sampler.default.initial_guess import initial_guess, past, untrained

__all__ = ["adams", "default_sampler", "initial_guess", "learned", "past", "untrained"]
