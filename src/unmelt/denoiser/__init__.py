"""Denoisers: from x_t, a time and a condition to a belief about the clean data."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.denoiser import prediction
    from unmelt.denoiser.approximate_block_cache import ApproximateBlockCache
    from unmelt.denoiser.autoregressive import Autoregressive
    from unmelt.denoiser.block_window import BlockWindow
    from unmelt.denoiser.blockwise import Blockwise
    from unmelt.denoiser.bounded import Bound, BoundedDenoiser, Clip, DynamicThreshold
    from unmelt.denoiser.cached import CachedDenoiser
    from unmelt.denoiser.denoiser import Denoiser
    from unmelt.denoiser.exact import Mixture
    from unmelt.denoiser.flow_map import FlowMap
    from unmelt.denoiser.frame_cache import read_frames
    from unmelt.denoiser.gaussian_mixture import GaussianMixtureDenoiser
    from unmelt.denoiser.joint_tokens import JointTokenDenoiser
    from unmelt.denoiser.linear_gaussian_sequence import LinearGaussianSequence
    from unmelt.denoiser.network import NetworkDenoiser
    from unmelt.denoiser.residual import ResidualDenoiser
    from unmelt.denoiser.residual_flow_map import ResidualFlowMap
    from unmelt.denoiser.table import ExactTokenDenoiser
    from unmelt.denoiser.token_network import TokenDenoiser

__all__ = [
    "ApproximateBlockCache",
    "Autoregressive",
    "BlockWindow",
    "Blockwise",
    "Bound",
    "BoundedDenoiser",
    "CachedDenoiser",
    "Clip",
    "Denoiser",
    "DynamicThreshold",
    "ExactTokenDenoiser",
    "FlowMap",
    "GaussianMixtureDenoiser",
    "JointTokenDenoiser",
    "LinearGaussianSequence",
    "Mixture",
    "NetworkDenoiser",
    "ResidualDenoiser",
    "ResidualFlowMap",
    "TokenDenoiser",
    "prediction",
    "read_frames",
]

publish(__name__)
