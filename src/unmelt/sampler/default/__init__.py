"""The default samplers."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.sampler.default.choice import adams_sampler, default_sampler, learned, learned_sampler
    from unmelt.sampler.default.initial_guess import initial_guess, past, untrained

__all__ = ["adams_sampler", "default_sampler", "initial_guess", "learned", "learned_sampler", "past", "untrained"]

publish(__name__)
