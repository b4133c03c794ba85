"""The listener of bench/speech.py: pocketsphinx, which writes down what it hears."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import speech_words
from torch import Tensor

from unmelt.data.wav import wav_samples

BEAMS = {"beam": 1e-40, "pbeam": 1e-40, "wbeam": 1e-25}


def pocketsphinx() -> Any:
    try:
        return importlib.import_module("pocketsphinx")
    except ImportError:
        raise SystemExit("pocketsphinx is not installed; it listens: pip install pocketsphinx==5.1.1") from None


def dictionary() -> Path:
    return Path(pocketsphinx().get_model_path("en-us/cmudict-en-us.dict"))


class Listener:
    """pocketsphinx: with the grammar, and with its own language model."""

    def __init__(self) -> None:
        sphinx = pocketsphinx()
        self.chosen = speech_words.words(dictionary())
        self.free = sphinx.Decoder(loglevel="FATAL")
        # The best path through the lattice takes many seconds where speech is unclear; beams are as wide as clear
        # speech needs.
        self.bound = sphinx.Decoder(lm=None, loglevel="FATAL", bestpath=False, maxhmmpf=4000, **BEAMS)
        self.bound.add_jsgf_string("speech", speech_words.grammar(self.chosen))
        self.bound.activate_search("speech")

    def _heard(self, decoder: Any, x: Tensor) -> list[str]:
        decoder.start_utt()
        decoder.process_raw(wav_samples(x), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return found.hypstr.split() if found else []

    def slots(self, x: Tensor) -> list[str]:
        """The open words that are heard."""
        return [each for each in self._heard(self.bound, x) if each not in speech_words.CLOSED]

    def words(self, x: Tensor) -> list[str]:
        return self._heard(self.free, x)


def open_words(text: str) -> list[str]:
    return [each for each in text.split() if each not in speech_words.CLOSED]


def rate(said: Sequence[Sequence[str]], heard: Sequence[Sequence[str]]) -> float:
    """Errors over words."""
    pairs = zip(said, heard, strict=True)
    return sum(speech_words.errors(*pair) for pair in pairs) / sum(map(len, said))
