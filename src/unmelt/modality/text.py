"""Text: lists of strings, shown and written as they are, and judged by their n-grams.

ngram_divergence   Jensen-Shannon divergence, in bits, between the frequencies of runs of three characters in the
                   samples and in held-out text; `ngram_divergence_floor` is that of training text.
distinct_ngrams    Share of the samples' runs of eight characters that are different from one another, which repetition
                   lowers; `distinct_ngrams_floor` is that of held-out text.

All figures depend on the amount of text: samples, training text and held-out text are cut to equal numbers of
characters where they are compared. How probable a model finds text (bits per byte) is the model's own figure, not one
of its samples, and is not computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from jaxtyping import Int64
from PIL.Image import Image
from torch import Tensor

from unmelt import picture
from unmelt.data import Source
from unmelt.metric import SampleSet, distinct_ngrams, ngram_divergence
from unmelt.modality.files import check_suffix
from unmelt.modality.modality import Distance
from unmelt.train.atomic_files import write

BETWEEN = "-" * 80
"""The line between two texts of a file."""

FEW_TEXTS, MOMENTS = 4, 9
"""Texts in a preview, and times in a strip."""

SHORT, LONG = 3, 8
"""Characters of the runs whose frequencies are compared, and of those that should not repeat."""


@final
@dataclass(frozen=True)
class Text:
    """Lists of strings."""

    @property
    def name(self) -> str:
        return "text"

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".txt",)

    @property
    def hub_task(self) -> str:
        return "text-generation"

    def preview_rows(self, classes: int) -> int:
        """Choose 4 texts."""
        return FEW_TEXTS

    def samples_to_score(self, real: int) -> int:
        """Choose as many texts as there are training texts."""
        return real

    def draw(
        self,
        x: Sequence[str],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> Image:
        """Draw the texts below one another, with the names of their classes where they have any."""
        return picture.texts(x, [] if labels is None else [classes[label] for label in labels.tolist()])

    def strip(
        self,
        frames: Sequence[Sequence[str]],
        times: Sequence[float],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
    ) -> Image:
        """Draw the first text at up to 9 times, one below the other."""
        few = min(MOMENTS, len(frames))
        some = sorted({round(k * (len(frames) - 1) / max(few - 1, 1)) for k in range(few)})
        return picture.texts([frames[k][0] for k in some], [f"t = {times[k]:.2f}" for k in some])

    def write(
        self,
        x: Sequence[str],
        path: Path,
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> list[Path]:
        """Write all texts into one file (.txt, UTF-8), with a line of dashes between them."""
        check_suffix(path, self.suffixes)
        write(path, (f"\n{BETWEEN}\n".join(x) + "\n").encode())
        return [path]

    def score(
        self,
        made: SampleSet,
        real: SampleSet,
        held_out: SampleSet,
    ) -> dict[str, Any]:
        """Score by n-gram divergence and repetition."""
        size = min(sum(map(len, each.x)) for each in (made, real, held_out))
        samples, training, target = (_cut(each.x, size) for each in (made, real, held_out))
        return {
            "characters": size,
            "ngram_divergence": ngram_divergence(samples, target, SHORT),
            "ngram_divergence_floor": ngram_divergence(training, target, SHORT),
            "distinct_ngrams": distinct_ngrams(samples, LONG),
            "distinct_ngrams_floor": distinct_ngrams(target, LONG),
        }

    def distance(self, real: Sequence[str], held_out: Sequence[str]) -> Distance:
        """Choose the n-gram divergence, in bits, over as many characters as the real text has."""
        size = sum(map(len, real))
        return Distance(
            "n-gram divergence",
            lambda x: ngram_divergence(_cut(x, size), held_out, SHORT),
            ngram_divergence(real, held_out, SHORT),
        )


def _cut(texts: Sequence[str], size: int) -> list[str]:
    """The first texts, of so many characters together."""
    some = []
    for text in texts:
        some.append(text[:size])
        size -= len(some[-1])
    return [text for text in some if text]
