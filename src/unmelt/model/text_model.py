"""The facade for text: the verbs of `Model`, for strings.

A row is a canvas of a fixed number of tokens, some of which are known: a prompt before, a suffix after. The model
decodes the rest, in the order of its sampler. An autoregressive model does so from left to right.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack, final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.arguments import checked
from unmelt.arguments.values import shown
from unmelt.class_labels import Label
from unmelt.codec import Tokenizer
from unmelt.condition import Condition
from unmelt.data import GAP_MARKER, Questions
from unmelt.denoiser import Autoregressive, Blockwise
from unmelt.errors import UsageError
from unmelt.guidance import AllowedTokens, Temperature, TopP
from unmelt.likelihood import Estimate
from unmelt.modality import Modality, Text
from unmelt.model import text_decoding, text_evaluation
from unmelt.model.base import BaseModel, SamplingPlan
from unmelt.model.request import DenoiserTransform, Guide, Rule, SampleRequest, TextSettings, check_rows
from unmelt.model.stored import TrainingData
from unmelt.model.text_canvas import Canvas, Texts, check_tokens, one_per_row
from unmelt.process import Mask
from unmelt.rng import Seed
from unmelt.sampler import Grid, Sampler
from unmelt.sampler.tokens import Confidence, Unmask

PREVIEWS = 4
"""Samples that are written out while a model learns."""


class TextFrame(NamedTuple):
    """One moment of a trajectory.

    Args:
        text: Each row at time t, with ░ for a mask.
        t: The time.
        x: [rows, length], the same in tokens, on the CPU.
    """

    text: list[str]
    t: float
    x: Int64[Tensor, "rows length"]


@final
class TextModel(BaseModel):
    """A diffusion or autoregressive model of text. Recipes make one; `um.load` reads one from a run folder.

    Constructor arguments are those of `StoredModel`; `codec` is the tokenizer, of as many tokens as the process has.
    """

    CHUNK, SETTINGS, CODEC = 64, frozenset(TextSettings.__annotations__), Tokenizer

    questions: Callable[[], Mapping[str, Questions]] | None = None
    """What it is asked when it is judged, by name; a recipe may set it."""

    def check_parts(self) -> None:
        super().check_parts()
        vocabulary, processed = self.tokenizer.vocabulary, self.denoiser.process.vocabulary
        if vocabulary != processed:
            raise UsageError(
                f"a tokenizer of {vocabulary} tokens for a process on {processed}",
                "as many tokens in both",
                f"Mask({vocabulary})",
            )

    def default_modality(self) -> Modality:
        return Text()

    def training_data(self, device: torch.device) -> TrainingData:
        assert self.source is not None
        return TrainingData(self.source, self.held_out, None)

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to tokens and back; the same as `codec`."""
        return self.codec

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return int(self.denoiser.shape[0])

    @property
    def is_causal(self) -> bool:
        """Whether it decodes from left to right only, by tokens or by blocks, and never sees what comes after."""
        return isinstance(self.denoiser, Autoregressive) or (
            isinstance(self.denoiser, Blockwise) and not self.denoiser.also_bidirectional
        )

    @property
    def fills_middle(self) -> bool:
        """Whether it is autoregressive and was trained to write a middle after prefix and suffix."""
        return isinstance(self.denoiser, Autoregressive) and self.denoiser.fills_middle

    @property
    def canvas(self) -> Canvas:
        """Lays prompts, suffixes and gaps out as rows of known tokens."""
        return Canvas(self.tokenizer, self.length, self.is_causal, self.fills_middle)

    @property
    def greedy_sampler(self) -> Sampler:
        """The sampler for questions with one right answer: the most confident token first, where order is free."""
        is_free = not self.is_causal and isinstance(self.denoiser.process, Mask)
        return Unmask(Confidence()) if is_free else self.sampler

    def save_preview(self, path: Path | None) -> Path | None:
        texts = self.sample(PREVIEWS)
        if path is None:
            return None
        path = path.with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.modality.write(texts, path)
        return path

    def _repr_html_(self) -> str:
        """A sample, as a notebook shows it."""
        return f"<pre>{html.escape(self.sample(1)[0])}</pre>"

    def encode(self, x: Int64[Tensor, "rows length"]) -> Int64[Tensor, "rows length"]:
        return check_tokens("encode", x).to(self.device)

    def decode(self, z: Int64[Tensor, "rows length"]) -> Int64[Tensor, "rows length"]:
        return check_tokens("decode", z)

    # Generating

    @checked("model.request")
    def request(self, rows: int = 4, **settings: Unpack[TextSettings]) -> SampleRequest:
        """What `sample` and `trajectory` are asked for, as one value.

        Args:
            rows: How many texts.
            settings: The arguments of `sample`.

        Returns:
            The request.

        Raises:
            UsageError: As for `sample`.
        """
        check_rows(rows)
        label, condition = settings.pop("label", None), settings.pop("condition", None)
        known = self.condition_of(rows, label, None, condition) or Condition()
        self._check_guidance(settings.get("guidance", 1.0), known)
        prompt, suffix = settings.pop("prompt", ""), settings.pop("suffix", "")
        length = settings.pop("length", None)
        if known.known_tokens is None:
            prompts, suffixes = one_per_row(prompt, rows, "prompt"), one_per_row(suffix, rows, "suffix")
            known = dataclasses.replace(known, known_tokens=self.canvas.between(prompts, suffixes, length))
        belief = settings.pop("temperature", 1.0), settings.pop("allowed", None), settings.pop("top_p", 1.0)
        return SampleRequest(rows=rows, condition=known, transforms=_transforms(*belief), **settings)  # type: ignore[misc]

    @checked("model.sample")
    def sample(
        self,
        rows: int | SampleRequest = 4,
        *,
        prompt: Texts = "",
        suffix: Texts = "",
        length: int | None = None,
        label: Label | None = None,
        condition: Condition | None = None,
        guidance: Guide = 1.0,
        steps: int | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        allowed: Rule | None = None,
        cache_block: int = 0,
        seed: Seed = 0,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
        adapter: str | Sequence[str | None] | None = None,
    ) -> list[str]:
        """New text between prompt and suffix.

        Args:
            rows: How many texts; or a whole `SampleRequest`, in place of all arguments.
            prompt: What is known before, for all rows or one for each; may be empty.
            suffix: What is known after, for all rows or one for each; may be empty.
            length: Tokens in all, with prompt and suffix. None: as many as the model can.
            label: A class by number or by name, or one for each row.
            condition: What else is known of the rows: any `Condition`.
            guidance: Scale of classifier-free guidance (1 is none), one for each row, or a function that wraps the
                denoiser.
            steps: Steps of the grid; each is one network call where the sampler's pace is the grid's.
            temperature: 1 draws from the model's own belief, 0 takes its likeliest token. The order of unmasking does
                not depend on it.
            top_p: Share of each belief that is drawn from, the likeliest tokens first (nucleus sampling).
            allowed: True for tokens that may be written: [vocabulary], [length, vocabulary], or a function of x_t.
            cache_block: Tokens per block of the approximate block cache; 0 for none.
            seed: One for all rows, or one for each. A seed gives the same row in any batch. None draws a fresh one.
            sampler: Replaces the model's sampler.
            grid: Replaces the model's grid of times; with `steps`, only its spacing.
            adapter: Name of an adapter, or a name or None for each row. None: the model's active adapter.

        Returns:
            The texts, prompt and suffix included.

        Raises:
            UsageError: If prompt and suffix do not fit, the model cannot see a suffix, or numbers of rows differ.
        """
        if not isinstance(rows, SampleRequest):
            known: Any = {"prompt": prompt, "suffix": suffix, "length": length, "label": label, "condition": condition}
            belief: Any = {"guidance": guidance, "temperature": temperature, "top_p": top_p, "allowed": allowed}
            how: Any = {"cache_block": cache_block, "steps": steps, "seed": seed, "sampler": sampler, "grid": grid}
            how |= {"adapter": adapter}
            rows = self.request(rows, **known, **belief, **how)
        return self._texts(self.sample_request(rows), rows)

    @checked("model.trajectory")
    def trajectory(self, rows: int | SampleRequest = 1, **settings: Unpack[TextSettings]) -> Iterator[TextFrame]:
        """Texts on their way, a `TextFrame` for every time of the grid: masks first, text last.

        Args:
            rows: How many texts; or a whole `SampleRequest`, in place of all arguments.
            settings: The arguments of `sample`.

        Returns:
            An iterator of frames.

        Raises:
            UsageError: As for `sample`.
        """
        request = rows if isinstance(rows, SampleRequest) else self.request(rows, **settings)
        states = self.states(request)
        return (TextFrame(self._texts(one.x, request), one.t.flatten()[0].item(), one.x.cpu()) for one in states)

    @checked("model.infill")
    def infill(
        self,
        texts: Texts,
        *,
        marker: str = GAP_MARKER,
        tokens: int = 1,
        text_is_complete: bool = False,
        steps: int | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        allowed: Rule | None = None,
        cache_block: int = 0,
        seed: Seed = 0,
        sampler: Sampler | None = None,
    ) -> list[str]:
        """Fill the gaps of texts, in view of all that stands around them.

        Where a text is longer than the model, the model sees what is nearest to the gaps. The whole text comes back, as
        it was outside of the gaps.

        Args:
            texts: One text or several, with a marker for every gap.
            marker: What stands for a gap.
            tokens: Tokens that each gap gets.
            text_is_complete: Whether nothing follows the last character, so that an end-of-text token is known there.
                False: the text may be an excerpt.
            steps: Steps of the grid.
            temperature: 1 draws from the model's own belief, 0 takes its likeliest token.
            top_p: Share of each belief that is drawn from, the likeliest tokens first.
            allowed: True for tokens that may be written.
            cache_block: Tokens per block of the approximate block cache; 0 for none.
            seed: One for all texts, or one for each. None draws a fresh one.
            sampler: Replaces the model's sampler.

        Returns:
            The texts with their gaps filled.

        Raises:
            UsageError: If a text has no marker, its gaps do not fit, or a causal model would have to look ahead.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        check_rows(max(1, len(texts)), "texts")  # of no texts, no likelihoods
        seeds = SampleRequest(rows=len(texts), seed=seed).seeds
        gapped = [self.canvas.gapped(text, marker, tokens) for text in texts]
        if text_is_complete and not self.is_causal:
            gapped = [each._replace(known=self.canvas.with_end(each.known)) for each in gapped]
        found = [""] * len(texts)
        how: dict[str, Any] = {"transforms": _transforms(temperature, allowed, top_p), "cache_block": cache_block}
        for length in {len(each.known) for each in gapped}:  # rows of one batch have one length
            rows = [row for row, each in enumerate(gapped) if len(each.known) == length]
            known = Condition(known_tokens=torch.stack([gapped[row].known for row in rows]))
            own = [seeds[row] for row in rows]
            request = SampleRequest(rows=len(rows), condition=known, seed=own, steps=steps, sampler=sampler, **how)
            for row, filled in zip(rows, self.sample_request(request).tolist(), strict=True):
                found[row] = self.canvas.whole(filled, gapped[row].before, gapped[row].after)
        return found

    def _texts(self, x: Tensor, request: SampleRequest) -> list[str]:
        assert request.condition is not None
        known = request.condition.known_tokens
        assert known is not None
        return [self.canvas.read(row, there) for row, there in zip(x.tolist(), known.tolist(), strict=True)]

    def plan(self, request: SampleRequest) -> SamplingPlan:
        return text_decoding.plan(self, request)

    # Judging: see `text_evaluation`

    @checked("model.log_likelihood")
    @torch.no_grad()
    def log_likelihood(
        self, texts: Texts | Tensor, *, prompt: Texts = "", suffix: Texts = "", draws: int = 32, seed: int = 0
    ) -> Estimate:
        """log p(text | prompt, suffix) in nats: exact for an autoregressive model, or else a lower bound.

        Args:
            texts: One text or several; or rows of tokens, [rows, length], without prompt and suffix.
            prompt: What is known before, for all or one for each.
            suffix: What is known after, for all or one for each.
            draws: Draws of the number and positions of masks, for each text.
            seed: Seed of the draws.

        Returns:
            Values [texts] and their standard errors [texts].

        Raises:
            UsageError: If a text does not fit, or the model has no objective.
        """
        if isinstance(texts, Tensor):
            self._check_tokens(texts)
            tokens, nothing = texts.to(self.device), torch.full_like(texts, -1, device=self.device)
            found = text_evaluation.negative_log_likelihood(self, tokens, nothing, draws, seed)
            return Estimate(-found.value, found.error)
        texts = [texts] if isinstance(texts, str) else list(texts)
        check_rows(max(1, len(texts)), "texts")  # of no texts, no likelihoods
        prompts, suffixes = one_per_row(prompt, len(texts), "prompt"), one_per_row(suffix, len(texts), "suffix")
        return text_evaluation.log_likelihood(self, list(zip(prompts, texts, suffixes, strict=True)), draws, seed)

    def _check_tokens(self, tokens: Tensor) -> None:
        """Refuse rows of what are no tokens of this model."""
        vocabulary = self.tokenizer.vocabulary
        is_whole = not (tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool)
        if not is_whole or tokens.ndim != 2 or not 1 <= tokens.shape[1] <= self.length:
            needed = f"whole numbers, [rows, 1 to {self.length}]"
            raise UsageError(shown(tokens), needed, "torch.tensor([model.tokenizer.encode(text)])")
        check_rows(max(1, len(tokens)), "texts")
        if not ((tokens >= 0) & (tokens < vocabulary)).all():
            raise UsageError(
                f"tokens from {int(tokens.min())} to {int(tokens.max())}",
                f"tokens from 0 to {vocabulary - 1}",
                "torch.tensor([model.tokenizer.encode(text)])",
            )

    @checked("model.evaluate")
    @torch.no_grad()
    def evaluate(self, *, rows: int | None = None, draws: int = 4, seed: int = 0) -> dict[str, Any]:
        """Bits per byte of the held-out text (exact for autoregression, else the bound), and questions answered right.

        Args:
            rows: Rows of held-out text, and questions of each kind. None: all.
            draws: Draws of masks, for each row.
            seed: Seed of the draws.

        Returns:
            Figures by name.

        Raises:
            UsageError: If there is nothing to judge by.
        """
        return text_evaluation.evaluate(self, rows, draws, seed)

    @checked("model.score")
    def score(self, questions: Questions) -> float | None:
        """The share of questions answered right, letter for letter, with the likeliest tokens, one at a time.

        Args:
            questions: What it is asked, and the answers.

        Returns:
            The share; None where a causal model would have to see what comes after.
        """
        return text_evaluation.score(self, questions)


def _transforms(temperature: float, allowed: Rule | None, top_p: float) -> tuple[DenoiserTransform, ...]:
    """What is done to each belief about tokens before anything is drawn from it, in this order."""
    wanted: list[DenoiserTransform] = []
    if allowed is not None:
        if not callable(allowed) and not isinstance(allowed, Tensor):
            needed = "booleans in a tensor, [vocabulary] or [length, vocabulary], or a function of x_t"
            raise UsageError(f"allowed={shown(allowed)}", needed, "allowed=torch.tensor(allowed)")
        wanted.append(lambda denoiser: AllowedTokens(denoiser, allowed))
    if temperature != 1:
        wanted.append(lambda denoiser: Temperature(denoiser, temperature))
    if top_p != 1:
        wanted.append(lambda denoiser: TopP(denoiser, top_p))
    return tuple(wanted)
