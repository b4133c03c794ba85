"""Small sets of weights that change what a trained network does: trained, saved, merged and swapped on their own."""

from unmelt.adapter.adapted import AdaptedDenoiser
from unmelt.adapter.adapter import Adapter, Attachment
from unmelt.adapter.lora import LoRA
from unmelt.adapter.low_rank import LowRank

__all__ = ["AdaptedDenoiser", "Adapter", "Attachment", "LoRA", "LowRank"]
