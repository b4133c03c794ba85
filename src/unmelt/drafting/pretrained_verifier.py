"""Which verifier a drafter belongs to: where its files are, and digests by which it is recognised.

A drafter that reads another verifier's hidden states, or counts its tokens otherwise, still leaves the law of the text
as it is, and nearly nothing of what it drafts is accepted. That is refused rather than slow.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch

from unmelt.arguments import checked_init
from unmelt.drafting.transformers_verifier import TransformersVerifier
from unmelt.errors import UsageError

SAMPLED = 64
"""Numbers of each weight that its digest is made of."""


@final
@checked_init("um.drafting.PretrainedVerifier")
@dataclass(frozen=True)
class PretrainedVerifier:
    """A verifier on the disk. It is read when it is first asked for, and its weights stay where they are.

    Args:
        path: Its folder or .gguf file; "" for one that has none.
        vocabulary: Number of its tokens.
        width: Features of its hidden states.
        depth: Number of its layers.
        tokenizer: Digest of its tokenizer's tokens; "" if it has none.
        weights: Digest of its weights, the same in float32 and bfloat16.
    """

    path: str
    vocabulary: int
    width: int
    depth: int
    tokenizer: str
    weights: str

    @classmethod
    def of(cls, verifier: TransformersVerifier, path: str | Path = "") -> PretrainedVerifier:
        """Describe a verifier.

        Args:
            verifier: The verifier.
            path: Where it was read from.

        Returns:
            The description, which has the verifier at hand.
        """
        made = cls(
            path=str(path),
            vocabulary=verifier.vocabulary,
            width=verifier.width,
            depth=verifier.depth,
            tokenizer=_of_tokenizer(verifier.tokenizer),
            weights=_of_weights(verifier.model),
        )
        vars(made)["loaded"] = verifier
        return made

    @cached_property
    def loaded(self) -> TransformersVerifier:
        """The verifier, read at the first use.

        Raises:
            UsageError: If it is not there, cannot be read, or is not the one that was described.
        """
        instead = "um.load(run).drafter_for(TransformersVerifier.load('another/folder'))"
        if not self.path or not Path(self.path).expanduser().exists():
            where = f"at {self.path}" if self.path else "on the disk"
            raise UsageError(f"a drafter whose verifier is not {where}", "the verifier it was trained for", instead)
        found = TransformersVerifier.load(self.path)
        self.check(found)
        return found

    def check(self, verifier: TransformersVerifier) -> None:
        """Refuse another verifier.

        Args:
            verifier: A verifier.

        Raises:
            UsageError: If it is not this one; says by what it differs.
        """
        found = replace(PretrainedVerifier.of(verifier), path=self.path)
        if found == self:
            return
        sizes = [
            f"{name} {getattr(self, name)} there, {getattr(found, name)} here"
            for name in ("vocabulary", "width", "depth")
            if getattr(self, name) != getattr(found, name)
        ]
        if sizes:
            differs = ", ".join(sizes)
        elif found.tokenizer != self.tokenizer:
            differs = "another tokenizer"
        else:
            differs = "other weights"
        raise UsageError(
            f"a drafter of another verifier ({differs})",
            f"the verifier it was trained for{f', {self.path}' if self.path else ''}",
            "um.recipe.drafter(verifier='models/mine', text='books').fit(out='runs/drafter')",
        )


def _of_tokenizer(tokenizer: Any) -> str:
    """Digest of all tokens and their numbers; "" for no tokenizer."""
    return "" if tokenizer is None else _digest(json.dumps(sorted(tokenizer.get_vocab().items())).encode())


def _of_weights(model: Any) -> str:
    """Digest of names, shapes and some of the numbers of all weights."""
    found = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        some = weight.detach().flatten()[:: max(1, weight.numel() // SAMPLED)][:SAMPLED]
        found.update(f"{name} {tuple(weight.shape)}".encode())
        found.update(some.cpu().bfloat16().view(torch.int16).numpy().tobytes())
    return found.hexdigest()[:32]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
