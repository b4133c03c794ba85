"""Drafting: a drafter proposes tokens, a causal model verifies them in one pass, and the law of the text is its own."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.drafting.autoregressive_verifier import AutoregressiveVerifier
    from unmelt.drafting.draft import Draft, Drafter
    from unmelt.drafting.hidden_drafter import HiddenDrafter
    from unmelt.drafting.marginals import Marginals
    from unmelt.drafting.ngram import NGram
    from unmelt.drafting.speculative import Decoded, DraftState, Speculative, decode
    from unmelt.drafting.streams import Streams
    from unmelt.drafting.train_drafter import train_drafter
    from unmelt.drafting.transformers_verifier import TransformersVerifier
    from unmelt.drafting.verification import acceptance, residual, verify
    from unmelt.drafting.verifier import Reading, Verifier

__all__ = [
    "AutoregressiveVerifier",
    "Decoded",
    "Draft",
    "DraftState",
    "Drafter",
    "HiddenDrafter",
    "Marginals",
    "NGram",
    "Reading",
    "Speculative",
    "Streams",
    "TransformersVerifier",
    "Verifier",
    "acceptance",
    "decode",
    "residual",
    "train_drafter",
    "verify",
]

publish(__name__)
