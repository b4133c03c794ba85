"""A question with examples of its answers before it, put to a language model that has read the examples once."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from unmelt.planner.constrained import ConstrainedDecoder


@final
class Question:
    """A question in which one word changes.

    Args:
        decoder: The language model.
        asked: The question with {} for the word, up to where the answer begins.
        end: What stands after an answer.
        examples: Words and answers.
    """

    def __init__(self, decoder: ConstrainedDecoder, asked: str, end: str, examples: Sequence[tuple[str, str]]) -> None:
        self.decoder, self.asked = decoder, asked
        self.reading = decoder.read("".join(f"{asked.format(word)} {answer}{end}" for word, answer in examples))

    def log_probs(self, words: Sequence[str], answers: Sequence[str]) -> Float[Tensor, "words answers"]:
        """Score the same answers for several words.

        Args:
            words: The words.
            answers: The answers.

        Returns:
            log p of each answer to the question about each word, among all that the model could write.
        """
        texts = [self.asked.format(word) for word in words]
        return self.decoder.log_probs(self.reading, texts, [f" {answer}" for answer in answers])
