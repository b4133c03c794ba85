"""Scenes by a small frozen language model, under a grammar that lets no invalid scene through.

Words that are in the vocabulary of scenes stand for themselves. Of every other word the language model is asked what it
means; the answers are the vocabulary of scenes and "nothing", and each has its probability. A word that may be a colour
is asked about from the other side too, because a small model answers "orange" to any fruit:

    score(colour | word) = log p(colour | word means) - c mean_k log p(colour | colour_k means)
                           + log p(word | one shade of colour is called)

The second term takes back what the model prefers whatever it is asked (after Zhao et al., 2021, "Calibrate Before
Use"). The scene is the most probable reading of all words together that is a sentence of the grammar
(`planner.reading`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple, final, overload

from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked, checked_init
from unmelt.device import device_named
from unmelt.encoder.pretrained import load_pretrained
from unmelt.errors import UsageError
from unmelt.planner.constrained import ConstrainedDecoder
from unmelt.planner.meaning import IGNORED, NOTHING, NUMBERS, Meaning, literal, singular, words_of
from unmelt.planner.question import Question
from unmelt.planner.reading import best_reading
from unmelt.scene import COLOURS, OBJECTS, Scene

EXAMPLES: Final = {
    "robin": "bird",
    "coral": "orange",
    "both": "two",
    "showing": "nothing",
    "oak": "tree",
    "sketch": "nothing",
    "goblet": "cup",
    "gray": "nothing",
    "grape": "purple",
    "herring": "fish",
    "asterisk": "star",
    "cabin": "house",
    "single": "one",
    "honey": "yellow",
    "large": "nothing",
    "sedan": "car",
    "ocean": "blue",
    "puss": "cat",
    "triple": "three",
    "satellite": "moon",
    "grass": "green",
    "love": "heart",
    "brick": "red",
    "daisy": "flower",
    "very": "nothing",
    "pippin": "apple",
}
"""What words mean: the answers to every question "... means", each at least once, in mixed order."""

SHADES: Final = (
    ("green", "pea"),
    ("blue", "ocean"),
    ("orange", "pumpkin"),
    ("purple", "eggplant"),
    ("yellow", "straw"),
    ("blue", "denim"),
    ("red", "tomato"),
    ("blue", "sky"),
    ("green", "fern"),
    ("green", "grass"),
    ("purple", "grape"),
    ("yellow", "honey"),
    ("red", "blood"),
    ("orange", "rust"),
    ("purple", "iris"),
    ("yellow", "banana"),
    ("red", "brick"),
    ("orange", "coral"),
)
"""Colours, and words for shades of them, three of each: the answers to "One shade of ... is called"."""

ANSWERS: Final = (*OBJECTS, *COLOURS, *NUMBERS, "nothing")
"""What a word may mean, as the language model says it."""

COLOUR_ANSWERS: Final = slice(len(OBJECTS), len(OBJECTS) + len(COLOURS))

ASKED: Final = (
    *(Meaning("object", value) for value in OBJECTS),
    *(Meaning("colour", value) for value in COLOURS),
    *(Meaning("number", value) for value in NUMBERS.values()),
    NOTHING,
)
"""What the answers say of a scene, in the same order."""

A_COLOUR = 0.001
"""Probability of being a colour from which it is asked which one."""

WORDS = 64
"""Words of a prompt at most; what comes after is cut."""


class Questions(NamedTuple):
    """What a language model is asked.

    Args:
        meaning: What a word means.
        shade: What a shade of a colour is called.
        preference: What the model answers to the first question of the colours' own names, on average.
    """

    meaning: Question
    shade: Question
    preference: Float[Tensor, " colours"]


@final
@checked_init("um.planner.LanguageModelPlanner")
@dataclass(frozen=True)
class LanguageModelPlanner:
    """Plans scenes with a causal transformers model on the local disk. Frozen; nothing is downloaded.

    The model is read when the first plan is asked for. A run folder stores the path and the settings alone.

    Args:
        path: A folder with config.json, safetensors weights and a tokenizer, as `save_pretrained` writes it; or a
            .gguf file, or a folder with one.
        calibration: How much of the model's own preference among colours is taken back: 0 for none, 1 for all.
        device: Where the language model computes: "auto", "cpu" or "cuda".

    Raises:
        UsageError: If `calibration` is not between 0 and 1.
    """

    path: str
    calibration: float = 1.0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.calibration <= 1:
            raise UsageError(
                f"calibration={self.calibration}",
                "a number from 0 to 1",
                f"LanguageModelPlanner({self.path!r}, calibration=1.0)",
            )

    @overload
    def plan(self, prompts: str) -> Scene: ...  # type: ignore[overload-overlap]

    @overload
    def plan(self, prompts: Sequence[str]) -> list[Scene]: ...

    @checked("um.planner.LanguageModelPlanner.plan")
    def plan(self, prompts: str | Sequence[str]) -> Scene | list[Scene]:
        """Plan what prompts ask for.

        Args:
            prompts: A prompt in free wording, or several.

        Returns:
            Its scene, or a list with that of each.

        Raises:
            UsageError: If a prompt has no words, transformers is not installed, or the path has no model that can be
                read.
        """
        if not isinstance(prompts, str):
            return [self.plan(prompt) for prompt in prompts]
        words = words_of(prompts)[:WORDS]
        if not any(word.isalpha() for word in words):
            raise UsageError(f"the prompt {prompts!r}, which has no words", "what to draw", '"a red apple"')
        found = best_reading(words, self._scores(words))
        if found is None:  # nothing but words like "the": each of them is asked about as well
            found = best_reading(words, self._asked([singular(word) for word in words]))
        assert found is not None, "any word alone can be read as one object"
        return found.scene

    def _scores(self, words: Sequence[str]) -> list[dict[Meaning, float]]:
        """Log-probabilities of the meanings of each word: of literal words they are given, others are asked about."""
        known = {word: literal(word) for word in words}
        unknown = [word for word, meaning in known.items() if meaning is None]
        asked = dict(zip(unknown, self._asked([singular(word) for word in unknown]), strict=True))
        scores = []
        for word in words:
            meaning = known[word]
            scores.append(asked[word] if meaning is None else {NOTHING: IGNORED[meaning.kind], meaning: 0.0})
        return scores

    def _asked(self, words: Sequence[str]) -> list[dict[Meaning, float]]:
        """Log-probabilities of the meanings of words by the language model."""
        if new := sorted(set(words) - self._answers.keys()):
            answers = self._questions.meaning.log_probs(new, ANSWERS).log_softmax(-1)
            chance = answers[:, COLOUR_ANSWERS].logsumexp(-1)
            possible = [row for row in range(len(new)) if chance[row].exp() > A_COLOUR]
            colours = self._colours([new[row] for row in possible], answers[possible, COLOUR_ANSWERS])
            answers[possible, COLOUR_ANSWERS] = chance[possible, None] + colours
            for word, row in zip(new, answers.tolist(), strict=True):
                self._answers[word] = dict(zip(ASKED, row, strict=True))
        return [self._answers[word] for word in words]

    def _colours(self, words: Sequence[str], answers: Float[Tensor, "words colours"]) -> Float[Tensor, "words colours"]:
        """Log-probabilities of the colours of words, by both questions."""
        named = self._questions.shade.log_probs(COLOURS, words).T if words else 0.0
        return (answers - self.calibration * self._questions.preference + named).log_softmax(-1)

    @cached_property
    def _answers(self) -> dict[str, dict[Meaning, float]]:
        """What the language model has said, by word."""
        return {}

    @cached_property
    def _questions(self) -> Questions:
        tokenizer, model = load_pretrained(self.path, writes=True)
        decoder = ConstrainedDecoder(tokenizer, model.to(device_named(self.device)))
        meaning = Question(decoder, "{} means", "\n", tuple(EXAMPLES.items()))
        shade = Question(decoder, "One shade of {} is called", ".\n", SHADES)
        return Questions(meaning, shade, meaning.log_probs(COLOURS, COLOURS).mean(0))
