"""Small sets of weights that change what a trained network does: trained, saved, merged and swapped on their own."""

from unmelt.adapter.adapter import Adapter, Attachment
from unmelt.adapter.lora import LoRA
from unmelt.adapter.low_rank import LowRank

__all__ = ["Adapter", "Attachment", "LoRA", "LowRank"]
