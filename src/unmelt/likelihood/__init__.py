"""Likelihood: the log-probability of data under a denoiser, in nats."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.likelihood.bits import bits_per_dim
    from unmelt.likelihood.bound import bound
    from unmelt.likelihood.divergence import Divergence, Exact, Hutchinson
    from unmelt.likelihood.estimate import SIGMA_MIN, Estimate
    from unmelt.likelihood.flow import log_likelihood
    from unmelt.likelihood.frames import log_likelihood_of_frames
    from unmelt.likelihood.tokens import bound_on_tokens

__all__ = [
    "SIGMA_MIN",
    "Divergence",
    "Estimate",
    "Exact",
    "Hutchinson",
    "bits_per_dim",
    "bound",
    "bound_on_tokens",
    "log_likelihood",
    "log_likelihood_of_frames",
]

publish(__name__)
