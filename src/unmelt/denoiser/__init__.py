"""From a network's output to a belief about the data."""

from unmelt.denoiser import prediction
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.exact import Mixture
from unmelt.denoiser.fitted import Fitted
from unmelt.denoiser.network import Network
from unmelt.denoiser.refined import Refined

__all__ = ["Denoiser", "Fitted", "Mixture", "Network", "Refined", "prediction"]
