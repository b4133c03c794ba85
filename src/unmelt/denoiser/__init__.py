"""From a network's output to a belief about the data."""

from unmelt.denoiser import prediction
from unmelt.denoiser.autoregressive import Autoregressive
from unmelt.denoiser.blockwise import Blockwise
from unmelt.denoiser.denoiser import Denoiser
from unmelt.denoiser.exact import Mixture
from unmelt.denoiser.fitted import Fitted
from unmelt.denoiser.hasty import Hasty
from unmelt.denoiser.network import Network
from unmelt.denoiser.refined import Refined
from unmelt.denoiser.table import Table
from unmelt.denoiser.token_network import TokenNetwork

__all__ = [
    "Autoregressive",
    "Blockwise",
    "Denoiser",
    "Fitted",
    "Hasty",
    "Mixture",
    "Network",
    "Refined",
    "Table",
    "TokenNetwork",
    "prediction",
]
