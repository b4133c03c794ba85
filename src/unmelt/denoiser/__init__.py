"""From a network's output to a belief about the data."""

from unmelt.denoiser import prediction
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.exact import Mixture
from unmelt.denoiser.network import Network

__all__ = ["Denoiser", "Mixture", "Network", "prediction"]
