"""Drafting: a drafter proposes tokens, a causal model verifies them in one pass, and the law of the text is its own."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.drafting.autoregressive_verifier import AutoregressiveVerifier
    from unmelt.drafting.block_length import BlockLength, best_block, pass_milliseconds
    from unmelt.drafting.draft import Draft, Drafter
    from unmelt.drafting.draft_network import DraftNetwork
    from unmelt.drafting.draft_step import DraftStep
    from unmelt.drafting.hidden_drafter import HiddenDrafter
    from unmelt.drafting.lookup_first import LookupFirst
    from unmelt.drafting.marginals import Marginals
    from unmelt.drafting.ngram import NGram
    from unmelt.drafting.passes import Pass, acceptance_by_place, passes
    from unmelt.drafting.pretrained_verifier import PretrainedVerifier
    from unmelt.drafting.speculative import Decoded, DraftState, Speculative, decode
    from unmelt.drafting.speculative_sampler import SpeculativeSampler
    from unmelt.drafting.streams import Streams
    from unmelt.drafting.transformers_verifier import TransformersVerifier
    from unmelt.drafting.verification import acceptance, residual, verify
    from unmelt.drafting.verifier import Reading, Verifier

__all__ = [
    "AutoregressiveVerifier",
    "BlockLength",
    "Decoded",
    "Draft",
    "DraftNetwork",
    "DraftState",
    "DraftStep",
    "Drafter",
    "HiddenDrafter",
    "LookupFirst",
    "Marginals",
    "NGram",
    "Pass",
    "PretrainedVerifier",
    "Reading",
    "Speculative",
    "SpeculativeSampler",
    "Streams",
    "TransformersVerifier",
    "Verifier",
    "acceptance",
    "acceptance_by_place",
    "best_block",
    "decode",
    "pass_milliseconds",
    "passes",
    "residual",
    "verify",
]

publish(__name__)
