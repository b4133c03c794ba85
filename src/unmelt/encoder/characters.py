"""Text as characters, one vector each, and how long it takes to say.

    vector(c) = e_c, a unit vector of the alphabet              seconds(text, v) = f_v (p + sum over characters d_c)

The network learns how letters sound. Seconds are learned apart, from recordings that are to be learned from: d_c for
each character, p for the silence around a sentence, and a factor f_v for each voice, by least squares that pull every
d_c to the mean (ridge regression). A text is read in small letters, without accents, between two spaces.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from unmelt.arguments import checked_init
from unmelt.encoder.encoder import EncodedText
from unmelt.errors import UsageError

RIDGE, ROUNDS, FASTEST = 10.0, 4, 0.005
"""Recordings that the pull to the mean is worth, rounds of the fit, and seconds of the shortest character."""

LONGEST = 2000
"""Characters of a text at most."""


@final
@checked_init("um.encoder.CharacterEncoder")
@dataclass(frozen=True, kw_only=True)
class CharacterEncoder:
    """Encodes a text as one unit vector a character. Frozen, no parameters.

    Args:
        alphabet: The characters, each once; a space among them.
        seconds: How long each lasts, in the order of the alphabet; one number for all.
        pause: Seconds of silence around a text.
        voices: Factor of each voice on how long it takes; empty for one voice.

    Raises:
        UsageError: If a character is there twice, there is no space, or numbers do not fit.
    """

    alphabet: str
    seconds: tuple[float, ...] = (0.07,)
    pause: float = 0.3
    voices: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if " " not in self.alphabet or len(set(self.alphabet)) < len(self.alphabet):
            raise UsageError(f"the alphabet {self.alphabet!r}", "a space, and every character once", "' abc'")
        numbers = (*self.seconds, *self.voices)
        if len(self.seconds) not in (1, len(self.alphabet)) or min(numbers) <= 0 or self.pause < 0:
            raise UsageError(
                f"{len(self.seconds)} lengths for {len(self.alphabet)} characters",
                "one for all or one for each, above 0",
                "seconds=(0.07,)",
            )

    @property
    def width(self) -> int:
        """Numbers in a vector: characters of the alphabet."""
        return len(self.alphabet)

    @classmethod
    def fitted(
        cls, texts: Sequence[str], seconds: Sequence[float], labels: Sequence[int] | None = None, voices: int = 0
    ) -> CharacterEncoder:
        """The alphabet of some texts, and how long their characters last.

        Args:
            texts: What is said in each recording.
            seconds: How long each recording lasts.
            labels: Who speaks; None for one voice.
            voices: How many voices there are; 0 for one.

        Returns:
            The encoder.

        Raises:
            UsageError: If there are no texts, or their number is not that of the recordings.
        """
        if not texts or len(texts) != len(seconds):
            raise UsageError(f"{len(texts)} texts and {len(seconds)} lengths", "one for each recording", "texts")
        alphabet = "".join(sorted({" ", *"".join(map(plain_text, texts))}))
        counts = np.array([[plain_text(text).count(each) for each in alphabet] for text in texts], dtype=np.float64)
        lasts, who = (
            np.asarray(seconds, dtype=np.float64),
            np.asarray(labels if labels is not None else [0] * len(texts)),
        )
        factor = np.ones(max(1, voices))
        for _ in range(ROUNDS):
            wanted = lasts / factor[who]
            mean = wanted.sum() / max(1.0, counts.sum())
            # Columns: the pause, which nothing pulls, and how far each character is from the mean.
            columns = np.hstack([np.ones((len(texts), 1)), counts])
            pull = np.diag([1e-6] + [RIDGE] * len(alphabet))
            found = np.linalg.solve(columns.T @ columns + pull, columns.T @ (wanted - mean * counts.sum(1)))
            pause, each = max(0.0, found[0]), np.maximum(found[1:] + mean, FASTEST)
            predicted = pause + counts @ each
            for voice in range(len(factor)):
                if (mine := who == voice).any():
                    factor[voice] = lasts[mine].sum() / predicted[mine].sum()
        return cls(
            alphabet=alphabet,
            seconds=tuple(np.round(each, 5).tolist()),
            pause=round(float(pause), 5),
            voices=tuple(np.round(factor, 5).tolist()) if voices else (),
        )

    def read(self, text: str) -> str:
        """A text as it is encoded: small letters of the alphabet between two spaces. Marks it lacks are left out.

        Args:
            text: The text.

        Returns:
            The characters.

        Raises:
            UsageError: If the text is empty or too long, or has letters or digits that the alphabet lacks.
        """
        plain = plain_text(text)
        if lost := sorted({each for each in plain if each not in self.alphabet and each.isalnum()}):
            known = "".join(each for each in self.alphabet if each.isalnum())
            raise UsageError(
                f"a text with {', '.join(map(repr, lost[:5]))}: {text[:60]!r}",
                f"letters that recordings were learned with ({known}), and numbers in words",
                "'twenty' for '20'",
            )
        said = " ".join("".join(each for each in plain if each in self.alphabet).split())
        if not any(each.isalnum() for each in said):
            raise UsageError(f"the text {text[:60]!r}, in which nothing is said", "a word or more", "text='hello'")
        if len(said) > LONGEST:
            raise UsageError(f"a text of {len(said):,} characters", f"at most {LONGEST:,}", "one sentence at a time")
        return f" {said} "

    def seconds_of(self, text: str, voice: int | None = None) -> float:
        """How long a text is expected to take.

        Args:
            text: The text.
            voice: Number of the voice. None: that of a mean voice.

        Returns:
            Seconds.
        """
        each = dict(zip(self.alphabet, self.seconds * (1 if len(self.seconds) > 1 else self.width), strict=True))
        factor = 1.0 if voice is None or not self.voices else self.voices[voice]
        return factor * (self.pause + sum(each[one] for one in self.read(text).strip()))

    def __call__(self, captions: Sequence[str | None]) -> EncodedText:
        read = [self.read(caption) if caption else "" for caption in captions]
        length = max(1, *map(len, read))
        sequence, mask = torch.zeros(len(read), length, self.width), torch.zeros(len(read), length, dtype=torch.bool)
        for row, text in enumerate(read):
            numbers = torch.tensor([self.alphabet.index(each) for each in text], dtype=torch.int64)
            sequence[row, torch.arange(len(text)), numbers] = 1.0
            mask[row, : len(text)] = True
        return EncodedText(sequence, mask)


def plain_text(text: str) -> str:
    """A text in small letters, without accents, with single spaces and straight quotes.

    Args:
        text: The text.

    Returns:
        The text.
    """
    straight = text.replace("\u2019", "'").replace("\u2018", "'").replace("\u201c", '"').replace("\u201d", '"')
    apart = unicodedata.normalize("NFKD", straight.casefold())
    return " ".join("".join(each for each in apart if not unicodedata.combining(each)).split())
