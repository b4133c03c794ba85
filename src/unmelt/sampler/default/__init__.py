"""The default samplers."""

from unmelt.sampler.default.choice import adams_sampler, default_sampler, learned
from unmelt.sampler.default.initial_guess import initial_guess, past, untrained

__all__ = ["adams_sampler", "default_sampler", "initial_guess", "learned", "past", "untrained"]
