"""Text: real text scores as the floor, repetition and other letters are seen, and files read back as they were."""

import numpy as np
import pytest
import torch

from unmelt import data, picture
from unmelt.metric import SampleSet, distinct_ngrams, ngram_divergence
from unmelt.modality import Text
from unmelt.rng import Stream

text = Text()


def sentences(seed, count=500):
    """Sentences of a small language."""
    words = ("the", "sea", "a", "stone", "melts", "slowly", "under", "grey", "light", "and", "wind", "returns")
    choice = (Stream(seed).uniform((count, 12), torch.float64) * len(words)).long().tolist()
    return [" ".join(words[k] for k in row) for row in choice]


def test_real_text_scores_as_the_floor():
    found = text.score(*(SampleSet(sentences(seed)) for seed in range(3)))
    assert found["ngram_divergence"] == pytest.approx(found["ngram_divergence_floor"], rel=0.5)
    assert found["distinct_ngrams"] == pytest.approx(found["distinct_ngrams_floor"], rel=0.1)
    assert (
        text.score(SampleSet(sentences(1)), SampleSet(sentences(0)), SampleSet(sentences(1)))["ngram_divergence"] == 0
    )


def test_repetition_and_other_letters_score_worse_than_the_floor():
    real, held_out = SampleSet(sentences(1)), SampleSet(sentences(2))
    repeated = text.score(SampleSet(["the sea " * 9] * 500), real, held_out)
    assert repeated["distinct_ngrams"] < 0.1 * repeated["distinct_ngrams_floor"]
    assert repeated["ngram_divergence"] > 3 * repeated["ngram_divergence_floor"]
    other = text.score(SampleSet([each.upper() for each in sentences(0)]), real, held_out)
    assert other["ngram_divergence"] == pytest.approx(1)
    assert other["distinct_ngrams"] == pytest.approx(other["distinct_ngrams_floor"], rel=0.1)


def test_equal_amounts_of_text_are_compared():
    made, real, held_out = (
        ["abcdefghijkl", "mnop"],
        ["abcdefgh", "ijklmnop", "qrstuvwx"],
        ["abcdefghijklmnopqrstuvwxyz"],
    )
    found = text.score(SampleSet(made), SampleSet(real), SampleSet(held_out))
    assert found["characters"] == 16
    assert found["ngram_divergence_floor"] == ngram_divergence(["abcdefgh", "ijklmnop"], ["abcdefghijklmnop"])
    assert found["distinct_ngrams_floor"] == distinct_ngrams(["abcdefghijklmnop"], 8)
    distance = text.distance(made, held_out)
    assert distance.floor == ngram_divergence(made, held_out)
    assert distance.measure(real) == ngram_divergence(["abcdefgh", "ijklmnop"], held_out)


def test_a_file_reads_back_as_the_texts(tmp_path):
    texts = ["the sea\n  of stone", "", "épée"]
    assert text.write(texts, tmp_path / "a.txt") == [tmp_path / "a.txt"]
    content = (tmp_path / "a.txt").read_text(encoding="utf-8")
    assert content == "the sea\n  of stone\n" + "-" * 80 + "\n\n" + "-" * 80 + "\népée\n"


def test_a_strip_shows_the_first_text_at_up_to_nine_times():
    frames = [[f"text {k}", "another"] for k in range(17)]
    times = [1 - k / 16 for k in range(17)]
    expected = picture.texts([f"text {k}" for k in range(0, 17, 2)], [f"t = {1 - k / 16:.2f}" for k in range(0, 17, 2)])
    assert np.array_equal(np.asarray(text.strip(frames, times)), np.asarray(expected))
    one = picture.texts(["text 0"], ["t = 1.00"])
    assert np.array_equal(np.asarray(text.strip(frames[:1], times[:1])), np.asarray(one))


def test_classes_stand_beside_texts():
    drawn = text.draw(["a", "b"], torch.tensor([1, 0]), ("no", "yes"))
    assert np.array_equal(np.asarray(drawn), np.asarray(picture.texts(["a", "b"], ["yes", "no"])))
    assert np.array_equal(np.asarray(text.draw(["a"], real_data=data.Ring())), np.asarray(picture.texts(["a"])))
