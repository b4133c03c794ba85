"""The facade for drafters: a network that drafts for a language model on the disk, its training and its run folder.

    drafter = um.recipe.drafter(verifier="models/smollm2", text="books").fit(out="runs/drafter")
    drafter.sample("The sea", tokens=64, temperature=0.0)

The verifier's weights stay where they are: a run folder holds the network, the path of the verifier and digests by
which it is recognised.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import nn

from unmelt.arguments import checked
from unmelt.data import Arrays, Source
from unmelt.drafting import (
    BlockLength,
    Drafter,
    DraftNetwork,
    DraftStep,
    HiddenDrafter,
    LookupFirst,
    NGram,
    Pass,
    PretrainedVerifier,
    Speculative,
    TransformersVerifier,
    acceptance_by_place,
    best_block,
    decode,
    pass_milliseconds,
    passes,
)
from unmelt.drafting.pass_text import marked, pass_texts
from unmelt.errors import UsageError
from unmelt.modality import Modality, Text
from unmelt.model.judging import note_other_data
from unmelt.model.stored import TrainingData
from unmelt.model.trainable_part import TrainablePart
from unmelt.rng import RowSeeds, Seed, fold
from unmelt.train import Training
from unmelt.train.atomic_files import write

LOOKUP = NGram(shortest=2)
"""What is looked up before the network is asked."""

SCORED, SHOWN = 16, 24
"""Held-out rows that a drafter is scored by, and tokens of a preview."""


@final
class DrafterModel(TrainablePart):
    """A drafter for a language model, trained and kept in a run folder. A recipe makes one; `um.load` reads one.

    Args:
        network: The network that drafts.
        verifier: The language model it drafts for.
        places: Places per training row at which a block is drafted.
        training: Steps, batch, learning rate and so on.
        modality: How text is shown and written. None: as text.
        source: Rows of the verifier's tokens to learn from.
        held_out: Held-out rows, for evaluation.
        origin: Name and settings of the recipe that made it.
        notes: Notes on how the data were read.
        folder: Its run folder; None if it has none.

    Raises:
        UsageError: If `places` is below 1.
    """

    PARTS: ClassVar = ("modality", "network", "verifier", "places", "training")
    REQUIRED: ClassVar = ("network", "verifier", "places")
    MAIN: ClassVar = "network"

    @checked("um.DrafterModel")
    def __init__(
        self,
        *,
        network: DraftNetwork,
        verifier: PretrainedVerifier,
        places: int = 32,
        training: Training | None = None,
        modality: Modality | None = None,
        source: Source | None = None,
        held_out: Source | None = None,
        origin: dict[str, Any] | None = None,
        notes: str = "",
        folder: str | Path | None = None,
    ) -> None:
        if places < 1:
            raise UsageError(f"places={places}", "at least one place per row", "places=32")
        self.network, self.verifier, self.places, self.training = network.eval(), verifier, places, training
        self.modality: Modality = modality or Text()
        self.source, self.held_out = source, held_out
        self.origin, self.notes, self.classes = origin or {}, notes, ()
        self.folder = None if folder is None else Path(folder)
        self.steps_done, self.run, self.data = 0, "", None

    def __repr__(self) -> str:
        size = sum(each.numel() for each in self.network.parameters())
        of = f"drafts up to {self.network.block} tokens for {self.verifier.path or 'a verifier'}"
        return f"DrafterModel({of}, {size:,} parameters, {self.steps_done:,} training steps)"

    def modules(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    @classmethod
    def of_parts(cls, parts: Mapping[str, Any], about: Mapping[str, Any], folder: Path) -> DrafterModel:
        kinds: dict[str, Any] = {"network": DraftNetwork, "verifier": PretrainedVerifier, "places": int}
        kinds["training"] = Training | None
        if odd := [name for name, kind in kinds.items() if not isinstance(parts[name], kind)]:
            raise TypeError(f"{parts[odd[0]]!r} as its {odd[0]}")
        return cls(**parts, origin=about["origin"], notes=about["notes"], folder=folder)

    def training_data(self, device: torch.device) -> TrainingData:
        assert self.source is not None
        return TrainingData(self.source, self.held_out, None)

    @property
    def drafter(self) -> HiddenDrafter:
        """The drafter with its verifier, which is read when it is first asked for.

        Raises:
            UsageError: If the verifier is not there, cannot be read or has changed.
        """
        verifier = self.verifier.loaded
        verifier.model.to(self.device)
        return HiddenDrafter(verifier, self.network)

    @checked("model.drafter_for")
    def drafter_for(self, verifier: TransformersVerifier) -> HiddenDrafter:
        """The drafter with a verifier that is at hand.

        Args:
            verifier: The verifier that it was trained for. The network moves to its device.

        Returns:
            The drafter.

        Raises:
            UsageError: If it is another verifier.
        """
        self.verifier.check(verifier)
        self.network.to(verifier.model.device)
        return HiddenDrafter(verifier, self.network)

    def train_step(self) -> DraftStep:
        if self.source is None or self.training is None:
            instead = 'um.recipe.drafter(verifier="models/smollm2", text="books").fit()'
            raise UsageError("a drafter without text to learn from", "one made by a recipe", instead)
        return DraftStep(HiddenDrafter(self.verifier.loaded, self.network), self.places)

    @checked("model.sample")
    def sample(
        self,
        prompt: str | Sequence[str],
        *,
        tokens: int = 64,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: Seed = 0,
    ) -> list[str]:
        """Write text with the law of the verifier: looked up first, and drafted where nothing is found.

        Args:
            prompt: What the text begins with, or several such texts.
            tokens: Tokens to write; a text ends earlier with the verifier's end token.
            temperature: Of the verifier: 1 is its own law, 0 its greedy text.
            top_p: Share of each of its laws that is drawn from, after the temperature.
            seed: One for all texts, or one for each. None draws a fresh one.

        Returns:
            The texts, each with its prompt.

        Raises:
            UsageError: If a prompt is empty or longer than the verifier reads, or a number is out of range.
        """
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        tokenizer, verifier = self.verifier.loaded.tokenizer, self.verifier.loaded
        rows = [list(tokenizer.encode(each)) for each in texts]
        how: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "end_token": tokenizer.eos_token_id}
        drafter = LookupFirst(LOOKUP, replace(self.drafter, temperature=temperature))
        made = decode(verifier, rows, tokens, drafter=drafter, block=self.network.block, seed=seed, **how).tokens
        return [
            text + tokenizer.decode([*row, *more], skip_special_tokens=True)[len(tokenizer.decode(row)) :]
            for text, row, more in zip(texts, rows, made, strict=True)
        ]

    @checked("model.evaluate")
    def evaluate(self, *, samples: int | None = None, tokens: int = 48, seed: int = 0) -> dict[str, Any]:
        """How many tokens a pass of the verifier writes, after the first halves of held-out rows, greedily.

        tokens_a_pass    Tokens written by passes of the verifier; 1 is plain decoding.
        lookup           The same by looking up alone, and
        lookup_first     by looking up first and drafting where nothing is found.
        accepted_1 ...   How often each token of a block is accepted where those before it are.

        Args:
            samples: Held-out rows. None: 16, or all there are.
            tokens: Tokens that are written after each.
            seed: Which rows are taken.

        Returns:
            Figures by name, and what was asked for.

        Raises:
            UsageError: If there are no held-out rows.
        """
        if not isinstance(self.held_out, Arrays):
            instead = 'um.recipe.with_data("runs/drafter")'
            raise UsageError("a drafter without held-out text", "more text; or a run loaded with its data", instead)
        note_other_data(self)
        prompts = _prompts(self.held_out, SCORED if samples is None else samples, seed)
        drafter = replace(self.drafter, temperature=0.0)
        found = self._greedy(drafter, prompts, tokens)
        accepted = acceptance_by_place(found, drafter.block)
        return {
            "tokens_a_pass": _tokens_a_pass(found),
            "lookup": _tokens_a_pass(self._greedy(LOOKUP, prompts, tokens)),
            "lookup_first": _tokens_a_pass(self._greedy(LookupFirst(LOOKUP, drafter), prompts, tokens)),
            **{f"accepted_{k + 1}": share for k, share in enumerate(accepted)},
            "tokens": tokens,
            "samples": len(prompts),
        }

    def _greedy(self, drafter: Drafter, prompts: Sequence[Sequence[int]], tokens: int) -> list[Pass]:
        """The passes of greedy texts."""
        how = Speculative(drafter, self.network.block, temperature=0.0)
        return [each for prompt in prompts for each in passes(how, self.verifier.loaded, prompt, tokens)]

    @checked("model.best_block")
    def best_block(self, *, samples: int = 4, tokens: int = 48, seed: int = 0) -> BlockLength:
        """Choose the length of a block for one row and greedy text on this machine, from measured costs.

        Args:
            samples: Held-out rows by which acceptance is measured.
            tokens: Tokens that are written after each.
            seed: Which rows are taken.

        Returns:
            The length, and what it gains; 0 where drafting does not pay.

        Raises:
            UsageError: If there are no held-out rows.
        """
        scores = self.evaluate(samples=samples, tokens=tokens, seed=seed)
        accepted = [scores[f"accepted_{k + 1}"] for k in range(self.network.block)]
        drafter, length = self.drafter, min(128, self.verifier.loaded.length - self.network.block - 1)
        costs = pass_milliseconds(drafter.verifier, self.network.block + 1, length)
        x = torch.zeros(1, length, dtype=torch.int64, device=self.device)
        hidden = torch.randn(1, length, len(drafter.layers) * self.network.width, device=self.device)
        at, spent = torch.tensor([length], device=self.device), list[float]()
        for _ in range(5):
            start = time.perf_counter()
            drafter(x, at, hidden, self.network.block, RowSeeds.of(0, 1))
            spent.append(1000 * (time.perf_counter() - start))
        return best_block(costs, accepted, statistics.median(spent))

    def save_preview(self, path: Path | None) -> Path | None:
        shown = self._preview()
        if path is None:
            return None
        path = path.with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, shown.encode())
        return path

    def _preview(self) -> str:
        """A held-out text that goes on greedily, with what was drafted and cut between marks."""
        shown = self.held_out or self.source
        assert isinstance(shown, Arrays)
        (prompt,) = _prompts(shown, 1)
        drafter, found = replace(self.drafter, temperature=0.0), list[Pass]()
        found += self._greedy(drafter, [prompt], SHOWN)
        decoder = drafter.verifier.tokenizer.decode
        text = decoder(prompt) + " >>> " + marked(pass_texts(decoder, prompt, found))
        return f"{text}\n\n{_tokens_a_pass(found):.2f} tokens a pass\n"


def _tokens_a_pass(found: Sequence[Pass]) -> float:
    return sum(len(each.written) for each in found) / len(found)


def _prompts(source: Arrays, rows: int, seed: int = 0) -> list[list[int]]:
    """The first halves of some rows."""
    rows = min(rows, len(source))
    if rows < 1:
        raise UsageError(f"samples={rows}", "at least one held-out row", "samples=16")
    x = source.batch(fold(seed, 0) % len(source), rows)[0]
    return [row[: (x.shape[1] + 1) // 2].tolist() for row in x]
