"""Characters as vectors, and how long texts take, held to recordings of known tempo."""

import json

import pytest
import torch

import unmelt as um
from unmelt.encoder import CharacterEncoder, TextEncoder

PLAIN = CharacterEncoder(alphabet=" '-abcdeh", voices=(1.0, 2.0))


def test_every_character_is_its_unit_vector_between_two_spaces():
    sequence, mask = PLAIN(["Bad", None, "a b-c"])
    assert isinstance(PLAIN, TextEncoder)
    assert mask.sum(1).tolist() == [5, 0, 7]
    read = [
        "".join(PLAIN.alphabet[each] for each in row[real].argmax(-1)) for row, real in zip(sequence, mask, strict=True)
    ]
    assert read == [" bad ", "", " a b-c "]
    assert torch.equal(sequence.sum(-1), mask.float())


def test_a_caption_does_not_depend_on_the_others():
    alone, together = PLAIN(["bead"]), PLAIN(["bead", "a bad bed"])
    assert torch.equal(alone.sequence[0], together.sequence[0, :6])
    assert not together.mask[0, 6:].any()


@pytest.mark.parametrize(
    ("text", "read"), [("  Bád\n bed!", " bad bed "), ("\u201cHe\u2019\u201d", " he' "), ("ⅽab", " cab ")]
)
def test_texts_are_read_in_plain_letters(text, read):
    assert PLAIN.read(text) == read


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing is said"),
        (" ... ", "nothing is said"),
        ("a bag", r"'g'.*letters that recordings"),
        ("bad 7", "'7'.*numbers in words"),
        ("a" * 3000, "3,000 characters"),
    ],
)
def test_what_cannot_be_said_is_one_message(text, says):
    with pytest.raises(um.UsageError, match=says):
        PLAIN.read(text)


def test_tempo_is_found_from_recordings_that_have_one():
    rng = torch.Generator().manual_seed(0)
    lasts = {"a": 0.10, "b": 0.04, "c": 0.07, " ": 0.12}
    factors, texts, seconds, who = (0.8, 1.25), [], [], []
    for k in range(400):
        letters = [" abc"[i] for i in torch.randint(4, (30,), generator=rng).tolist()]
        text = " ".join("".join(letters).split())
        texts.append(text)
        who.append(k % 2)
        seconds.append(factors[k % 2] * (0.25 + sum(lasts[each] for each in text)))
    found = CharacterEncoder.fitted(texts, seconds, who, 2)
    assert found.alphabet == " abc"
    ratio = found.voices[1] / found.voices[0]
    assert ratio == pytest.approx(factors[1] / factors[0], rel=0.01)
    for text, voice, true in list(zip(texts, who, seconds, strict=True))[:20]:
        assert found.seconds_of(text, voice) == pytest.approx(true, rel=0.03)
    assert found.seconds_of("aaaa") > 1.8 * found.seconds_of("bbbb") - found.pause
    again = um.config.build(json.loads(json.dumps(um.config.describe(found))))
    assert again == found


def test_a_letter_that_is_rare_lasts_about_as_long_as_the_others():
    found = CharacterEncoder.fitted(["aa bb ab", "ab ba", "abz"], [0.8, 0.5, 3.0])
    assert 0.03 < found.seconds[found.alphabet.index("z")] < 0.6


def test_arguments_that_do_not_fit_are_refused():
    for settings in ({"alphabet": "abc"}, {"alphabet": " aa"}, {"alphabet": " a", "seconds": (0.1, 0.2, 0.3)}):
        with pytest.raises(um.UsageError):
            CharacterEncoder(**settings)
    with pytest.raises(um.UsageError, match="one for each recording"):
        CharacterEncoder.fitted([], [])
