"""Low-rank adapters (LoRA, DoRA): trained while the network is frozen, saved separately, merged or chosen per row."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.adapter.adapted import AdaptedDenoiser
    from unmelt.adapter.adapter import Adapter, Attachment
    from unmelt.adapter.lora import LoRA
    from unmelt.adapter.low_rank import LowRank

__all__ = ["AdaptedDenoiser", "Adapter", "Attachment", "LoRA", "LowRank"]

publish(__name__)
