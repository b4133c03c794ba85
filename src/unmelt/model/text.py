"""The facade for text: the same verbs, words in and words out.

A row is a canvas of a fixed number of tokens, some of which are known: a prompt before, a suffix after. The model
writes the rest, in whatever order its sampler likes. An autoregressive model does the same from left to right.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.codec import Tokenizer
from unmelt.condition import Condition
from unmelt.data import GAP, Arrays, Questions, Source
from unmelt.denoiser import ApproximateBlockCache, Autoregressive, Blockwise, Denoiser, TokenNetwork
from unmelt.errors import UsageError
from unmelt.guidance import Allowed, Nucleus, Temperature
from unmelt.inverse import Infill
from unmelt.likelihood import Estimate, bound_on_tokens
from unmelt.model.canvas import Canvas, Texts, one_each
from unmelt.model.map_chunks import map_chunks
from unmelt.model.trained import Trained, check_rows
from unmelt.objective import AnyOrder, Objective
from unmelt.process import Mask
from unmelt.rng import Rows, fold
from unmelt.sampler import Grid, Sampler, State, Tuned
from unmelt.sampler.loop import frames, knots
from unmelt.sampler.tokens import Confidence, Unmask
from unmelt.train import Training, processes

CHUNK = 64
"""Rows written, or judged, at a time."""

ENDLESS = 512
"""Rows to be judged by of a source that has no end."""

GREEDY = 0.01
"""A temperature at which only the likeliest token is left."""

SHOWN = 4
"""Samples that are written out while a model learns."""

Rule: TypeAlias = Tensor | Callable[[Tensor], Tensor]


class TextFrame(NamedTuple):
    """One moment of a trajectory.

    text   each row as it is at time t, ░ standing for a mask
    t      the time
    x      [rows, length], the same in tokens
    """

    text: list[str]
    t: float
    x: Int64[Tensor, "rows length"]


@final
class TextModel(Trained):
    """Tokenizer, denoiser, objective, sampler and training, together; see `Trained` for the rest.

    tokenizer   text to tokens and back; what the denoiser's process melts are its tokens
    questions   made when it is judged: what it can be asked, by name
    """

    PARTS = ("denoiser", "tokenizer", "sampler", "grid", "objective", "training")

    def __init__(
        self,
        *,
        denoiser: TokenNetwork | Autoregressive | Blockwise,
        tokenizer: Tokenizer,
        sampler: Sampler,
        grid: Grid,
        objective: Objective | None = None,
        training: Training | None = None,
        classes: Sequence[str] = (),
        source: Source | None = None,
        held_out: Source | None = None,
        origin: dict[str, Any] | None = None,
        notes: str = "",
        tuned: Sequence[Tuned] = (),
        folder: str | Path | None = None,
        questions: Callable[[], Mapping[str, Questions]] | None = None,
    ) -> None:
        told = (sampler, grid, objective, training, classes, source, held_out, origin, notes, tuned, folder)
        super().__init__(denoiser, *told)
        self.tokenizer, self.questions = tokenizer, questions
        if tokenizer.vocabulary != self.denoiser.process.vocabulary:
            raise UsageError(
                f"a tokenizer of {tokenizer.vocabulary} tokens for a process on {self.denoiser.process.vocabulary}",
                "as many tokens in both",
                f"Mask({tokenizer.vocabulary})",
            )

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return int(self.denoiser.shape[0])

    @property
    def is_causal(self) -> bool:
        """Whether it can only write from left to right, token by token or block by block, and never sees what comes
        after."""
        return isinstance(self.denoiser, Autoregressive) or (
            isinstance(self.denoiser, Blockwise) and not self.denoiser.bidirectional
        )

    @property
    def fills_middle(self) -> bool:
        """Whether it is autoregressive and was taught to write a middle after prefix and suffix."""
        return isinstance(self.denoiser, Autoregressive) and self.denoiser.fills_middle

    @property
    def canvas(self) -> Canvas:
        """What it writes on."""
        return Canvas(self.tokenizer, self.length, self.is_causal, self.fills_middle)

    def learning_codec(self) -> None:
        return None

    def show(self, path: Path | None) -> Path | None:
        texts = self.sample(SHOWN)
        if path is None:
            return None
        path = path.with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"\n{'-' * 80}\n".join(texts))
        return path

    # Generating

    def sample(
        self,
        rows: int = 4,
        *,
        prompt: Texts = "",
        suffix: Texts = "",
        length: int | None = None,
        steps: int | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        allowed: Rule | None = None,
        cache_block: int = 0,
        seed: int | Sequence[int] = 0,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
    ) -> list[str]:
        """New text between prompt and suffix, both included in what comes back.

        prompt, suffix   what is known before and after, for all rows or one for each; either may be empty
        length           tokens in all, with prompt and suffix; as many as the model can if not given
        steps            of the grid, which are passes where the sampler's pace is the grid's
        temperature      1 is the model's own belief; towards 0, only its likeliest token
        top_p            the share of each belief that is kept, the likeliest tokens first
        allowed          True for tokens that may be written: [vocabulary], [length, vocabulary], or a function of x_t
        hasty            places that are written before the others are looked at again: an approximate cache, faster,
                         for samplers such as Unmask(cache=True)
        seed             one for all, or one for each row; the same seed gives the same row in any batch
        """
        how = _How(steps, temperature, top_p, allowed, cache_block, seed, sampler, grid)
        known = self._canvases(rows, prompt, suffix, length)
        written = zip(self._finished(known, how), known.tolist(), strict=True)
        return [self.canvas.read(row, told) for row, told in written]

    def trajectory(
        self,
        rows: int = 1,
        *,
        prompt: Texts = "",
        suffix: Texts = "",
        length: int | None = None,
        steps: int | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        allowed: Rule | None = None,
        cache_block: int = 0,
        seed: int | Sequence[int] = 0,
        sampler: Sampler | None = None,
        grid: Grid | None = None,
    ) -> Iterator[TextFrame]:
        """Yield a `TextFrame` for every time of the grid, masks first and text last. Arguments as for `sample`."""
        how = _How(steps, temperature, top_p, allowed, cache_block, seed, sampler, grid)
        known = self._canvases(rows, prompt, suffix, length)
        for state in self._way(known, how):
            texts = [self.canvas.read(row, told) for row, told in zip(state.x.tolist(), known.tolist(), strict=True)]
            yield TextFrame(texts, state.t[0].item(), state.x.cpu())

    def infill(
        self,
        texts: Texts,
        *,
        marker: str = GAP,
        tokens: int = 1,
        whole: bool = False,
        steps: int | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        allowed: Rule | None = None,
        cache_block: int = 0,
        seed: int | Sequence[int] = 0,
        sampler: Sampler | None = None,
    ) -> list[str]:
        """Each text with every marker replaced by so many tokens, written in view of all that stands around them.

        whole   whether nothing comes after the text, so that its end is known as well

        Where a text is longer than the model, it sees what is nearest to the gaps; the whole text comes back.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        check_rows(len(texts))
        seeds = [fold(seed, row) for row in range(len(texts))] if isinstance(seed, int) else list(seed)
        gapped = [self.canvas.gapped(text, marker, tokens) for text in texts]
        if whole and not self.is_causal:
            gapped = [each._replace(known=self.canvas.ended(each.known)) for each in gapped]
        found = [""] * len(texts)
        for length in {len(each.known) for each in gapped}:  # rows of one batch have one length
            rows = [row for row, each in enumerate(gapped) if len(each.known) == length]
            known = torch.stack([gapped[row].known for row in rows])
            how = _How(steps, temperature, top_p, allowed, cache_block, [seeds[row] for row in rows], sampler, None)
            for row, written in zip(rows, self._finished(known, how), strict=True):
                found[row] = gapped[row].start + self.canvas.whole(written) + gapped[row].end
        return found

    def _canvases(self, rows: int, prompt: Texts, suffix: Texts, length: int | None) -> Int64[Tensor, "rows length"]:
        check_rows(rows)
        return self.canvas.between(one_each(prompt, rows, "prompt"), one_each(suffix, rows, "suffix"), length)

    def _finished(self, known: Int64[Tensor, "rows length"], how: _How) -> list[list[int]]:
        """Rows of tokens, all written."""
        seeds = [fold(how.seed, row) for row in range(len(known))] if isinstance(how.seed, int) else list(how.seed)
        if len(seeds) != len(known):
            raise UsageError(f"{len(seeds)} seeds for {len(known)} rows", "one seed, or one for each row", "seed=0")

        def make(chunk: slice) -> Tensor:
            return deque(self._way(known[chunk], how._replace(seed=seeds[chunk])), maxlen=1).pop().x.cpu()

        rows: list[list[int]] = map_chunks(
            len(known), CHUNK, make, independent=not processes.sharded(self.denoiser)
        ).tolist()
        return rows

    def _way(self, known: Int64[Tensor, "rows length"], how: _How) -> Iterator[State]:
        steps = how.steps
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
            raise UsageError(f"steps={steps!r}", "a whole number of at least 1", "steps=32")
        grid = how.grid or self.grid
        grid = grid if steps is None else dataclasses.replace(grid, steps=steps)
        reader, sampler = self._writer(known, how.sampler)
        denoiser: Denoiser = ApproximateBlockCache(self.denoiser, how.cache_block) if how.cache_block else reader
        denoiser = denoiser if how.temperature == 1 else Temperature(denoiser, how.temperature)
        denoiser = denoiser if how.allowed is None else Allowed(denoiser, how.allowed)
        denoiser = denoiser if how.top_p == 1 else Nucleus(denoiser, how.top_p)
        return self._walk(denoiser, known.to(self.device), sampler, grid, how.seed)

    def _writer(self, known: Tensor, asked: Sampler | None) -> tuple[Denoiser, Sampler]:
        """Who writes, and how. What was taught both ways writes block by block where the sampler does and nothing is
        known after a gap; else in view of both sides. Where something is, an end in the gap does not end the text."""
        sampler, ahead = asked or self.sampler, self.canvas.known_ahead(known)
        if ahead and isinstance(sampler, Unmask):
            sampler = dataclasses.replace(sampler, end=None)
        if not isinstance(self.denoiser, Autoregressive | Blockwise):
            return self.denoiser, sampler
        by_blocks = isinstance(sampler, Unmask) and (sampler.cache or sampler.block == self.denoiser.block)
        if isinstance(self.denoiser, Blockwise) and self.denoiser.bidirectional and (ahead or not by_blocks):
            whole = dataclasses.replace(sampler, cache=False, block=None) if by_blocks else sampler  # type: ignore
            return self.denoiser.as_bidirectional, whole
        if not by_blocks:
            raise UsageError(
                f"{sampler} for a model that writes from left to right, {self.denoiser.block} tokens at a time",
                "a sampler that does so too",
                "Unmask(cache=True)",
            )
        return self.denoiser, sampler

    def _walk(
        self, denoiser: Denoiser, known: Tensor, sampler: Sampler, grid: Grid, seed: int | Sequence[int]
    ) -> Iterator[State]:
        process, rows = self.denoiser.process, len(known)
        rng = Rows.of(seed, rows)
        x = process.prior(known.shape, rng, device=self.device)
        x = torch.where(known >= 0, known, x)
        if not isinstance(sampler, Unmask):  # which never writes where something stands
            denoiser = Infill(denoiser)
        start, *times = knots(grid, process.schedule, rows, self.device)
        yield from frames(
            denoiser, sampler, sampler.init(denoiser, x, start, rng.advance(), Condition(known_tokens=known)), times
        )

    # Judging

    @torch.no_grad()
    def log_likelihood(
        self, texts: Texts, *, prompt: Texts = "", suffix: Texts = "", draws: int = 32, seed: int = 0
    ) -> Estimate:
        """log p(text | prompt, suffix) of each, in nats: exact for an autoregressive model, or else what the bound
        says it is at least, the average over orders in which it may be written; with standard errors.

        draws   of the number and the places of masks
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        prompts, suffixes = one_each(prompt, len(texts), "prompt"), one_each(suffix, len(texts), "suffix")
        found = []
        for number, (before, text, after) in enumerate(zip(prompts, texts, suffixes, strict=True)):
            tokens, known = (each.to(self.device) for each in self.canvas.around(before, text, after))
            found.append(self._bound(tokens, known, draws, fold(seed, number)))
        return Estimate(-torch.cat([each.value for each in found]), torch.cat([each.error for each in found]))

    @torch.no_grad()
    def judged(self, tokens: Int64[Tensor, "rows length"], *, draws: int = 32, seed: int = 0) -> Estimate:
        """log p of rows of tokens, as `log_likelihood` of texts."""
        tokens = tokens.to(self.device)
        found = self._bound(tokens, torch.full_like(tokens, -1), draws, seed)
        return Estimate(-found.value, found.error)

    def _bound(self, tokens: Tensor, known: Tensor, draws: int, seed: int, reader: Denoiser | None = None) -> Estimate:
        if self.objective is None:
            raise UsageError("a model without an objective", "one made by a recipe", "um.recipe.code()")
        loss = self.objective
        if isinstance(loss, AnyOrder):
            loss = dataclasses.replace(
                loss, token_mean=False, bidirectional_fraction=0.0
            )  # the bound, however it was learned
        reader = self._reader(known) if reader is None else reader
        return bound_on_tokens(loss, reader, tokens, Condition(known_tokens=known), draws=self._draws(draws), seed=seed)

    def _reader(self, known: Tensor) -> Denoiser:
        """The denoiser; of one taught both ways, that which sees both sides, where something stands after a gap."""
        if isinstance(self.denoiser, Blockwise) and self.denoiser.bidirectional and self.canvas.known_ahead(known):
            return self.denoiser.as_bidirectional
        return self.denoiser

    def _draws(self, draws: int) -> int:
        return 1 if isinstance(self.denoiser, Autoregressive) else draws

    @torch.no_grad()
    def evaluate(self, *, rows: int | None = None, draws: int = 4, seed: int = 0) -> dict[str, Any]:
        """Bits for each byte of the held-out text, exact for an autoregressive model, else the bound; and the share of
        questions that are answered right.

        rows    of the held-out text, and questions of each kind; as many as there are if not given
        draws   for each row
        """
        if rows is not None:
            check_rows(rows)
        if (self.held_out is None and self.questions is None) or self.objective is None:
            raise UsageError("a model without text to be judged by", "one made by a recipe", "unmelt eval runs/code")
        scores: dict[str, Any] = {}
        if self.held_out is not None:
            scores = self._bits(self.held_out, rows, draws, seed, None)
        if self.held_out is not None and isinstance(self.denoiser, Blockwise) and self.denoiser.bidirectional:
            free = self._bits(self.held_out, rows, draws, seed, self.denoiser.as_bidirectional)
            named = {"bits_per_byte": "", "bits_per_byte_error": "_error"}
            scores |= {f"bits_per_byte_any_order{end}": free[name] for name, end in named.items()}
        for name, asked in (self.questions() if self.questions is not None else {}).items():
            scores[name] = self.score(Questions(asked.asked[:rows], asked.answers[:rows]))
        return {**scores, "draws": self._draws(draws), "seed": seed}

    def _bits(self, source: Source, rows: int | None, draws: int, seed: int, reader: Denoiser | None) -> dict[str, Any]:
        if isinstance(source, Arrays):
            values, told = source.values if rows is None else source.values[:rows], None
        else:
            values, told = source.batch(0, rows or ENDLESS)
        sizes, padding = self.tokenizer.sizes, self.tokenizer.special("padding")
        known = torch.where(values == padding, values, -1)
        if told is not None and told.known_tokens is not None:
            known = torch.where(told.known_tokens >= 0, told.known_tokens, known)

        def judged(chunk: slice) -> Tensor:
            part, of = values[chunk].to(self.device), known[chunk].to(self.device)
            found = self._bound(part, of, draws, fold(seed, chunk.start), reader)
            return torch.stack([found.value, found.error.square()], 1)

        independent = not processes.sharded(self.denoiser)
        nats, squares = map_chunks(len(values), CHUNK, judged, "judging", independent).sum(0).tolist()
        new = known < 0
        size = int(sizes[values[new]].sum())
        return {
            "bits_per_byte": nats / size / math.log(2),
            "bits_per_byte_error": math.sqrt(squares) / size / math.log(2),
            "nats_per_token": nats / int(new.sum()),
            "bytes": size,
            "exact": isinstance(self.denoiser, Autoregressive),
        }

    @property
    def greedy_sampler(self) -> Sampler:
        """How it writes when there is one right answer: the surest token first, where order is free."""
        free = not self.is_causal and isinstance(self.denoiser.process, Mask)
        return Unmask(Confidence()) if free else self.sampler

    def score(self, questions: Questions) -> float | None:
        """The share of them that are answered right, letter for letter, each with the likeliest tokens one at a time;
        None where a model that reads from left to right would have to see what comes after."""
        at_the_end = all(text.endswith(GAP) and GAP not in text.rstrip(GAP) for text in questions.asked)
        if self.is_causal and not self.fills_middle and not at_the_end:
            return None
        settings: dict[str, Any] = {"temperature": GREEDY, "steps": self.length, "sampler": self.greedy_sampler}
        found = self.infill(list(questions.asked), whole=True, **settings)
        right = [made == answer for made, answer in zip(found, questions.answers, strict=True)]
        return sum(right) / len(right)


class _How(NamedTuple):
    """What `sample` was asked for."""

    steps: int | None
    temperature: float
    top_p: float
    allowed: Rule | None
    cache_block: int
    seed: int | Sequence[int]
    sampler: Sampler | None
    grid: Grid | None
