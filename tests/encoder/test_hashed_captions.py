"""Hashed words: the numbers that trained models know, each caption encoded on its own, and no vocabulary."""

import math
import zlib

import torch

import unmelt as um
from unmelt.data import Arrays
from unmelt.encoder import EncodedText, HashedCaptionEncoder, TextEncoder

encoder = HashedCaptionEncoder()
CAPTIONS = ["A red square, number 3", None, "", "the sea " * 40, "épée!"]


def by_the_formula(word):
    features = [0.0] * 240
    bounded = f"<{word}>"
    for piece in {bounded} | {bounded[i : i + n] for n in (3, 4, 5) for i in range(len(bounded) - n + 1)}:
        features[zlib.crc32(piece.encode()) % 240] += 1 if zlib.crc32(piece.encode()) >= 2**31 else -1
    length = math.sqrt(sum(value**2 for value in features))
    return torch.tensor([value / length for value in features])


def test_words_are_their_hashed_pieces_and_their_position():
    sequence, mask = encoder(CAPTIONS)
    assert mask.sum(1).tolist() == [6, 0, 0, 32, 2]
    for row, words in enumerate(
        (["a", "red", "square", ",", "number", "3"], [], [], ["the", "sea"] * 16, ["épée", "!"])
    ):
        for place, word in enumerate(words):
            torch.testing.assert_close(sequence[row, place, :240], by_the_formula(word))
            angles = [place * math.pi / 32 * 2**k for k in range(8)]
            position = torch.tensor([f(angle) / math.sqrt(8) for f in (math.sin, math.cos) for angle in angles])
            torch.testing.assert_close(sequence[row, place, 240:], position, atol=1e-5, rtol=0)
        assert not sequence[row, len(words) :].any()


def test_the_numbers_are_those_of_version_0_1_0():
    sequence, mask = encoder(CAPTIONS)
    assert encoder.width == sequence.shape[2] == 256
    assert sequence.double().sum().item() == 49.16882409271576
    assert sequence.double().square().sum().item() == 79.99999726982321
    red = sequence[0, 1]
    assert red.nonzero()[:6, 0].tolist() == [15, 78, 88, 101, 129, 136]
    assert red[:240].double().sum().item() == 2 * 0.40824827551841736
    assert mask.sum() == 40


def test_a_row_does_not_depend_on_its_batch():
    together = encoder(CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        alone = encoder([caption])
        length = alone.sequence.shape[1]
        assert torch.equal(alone.sequence[0], together.sequence[row, :length])
        assert torch.equal(alone.mask[0], together.mask[row, :length])
        assert not together.mask[row, length:].any()


def test_it_is_a_text_encoder_that_a_run_folder_can_name():
    assert isinstance(encoder, TextEncoder)
    assert um.config.describe(encoder) == {"part": "encoder.HashedCaptionEncoder", "context": False}
    assert um.config.build({"part": "encoder.HashedCaptionEncoder"}) == encoder


class Letters:
    """A user's encoder: the number of letters, as one vector of one feature."""

    width = 1

    def __call__(self, captions):
        count = torch.tensor([[[float(len(caption or ""))]] for caption in captions])
        return EncodedText(count, count[..., 0] > 0)


def test_arrays_encode_captions_with_the_encoder_they_were_given():
    captions = ["a", None, "abc", "ab"]
    source = Arrays(torch.arange(4.0)[:, None], captions=captions, encoder=Letters())
    for part in (source, source.only(torch.tensor([2, 1]))):
        x, condition = part.batch(0, len(part))
        items = x[:, 0].long().tolist()
        assert condition.sequence[:, 0, 0].tolist() == [len(captions[item] or "") for item in items]
        assert condition.sequence_mask[:, 0].tolist() == [captions[item] is not None for item in items]
    plain = Arrays(torch.arange(4.0)[:, None], captions=captions).batch(0, 4)[1]
    hashed = encoder([captions[int(item)] for item in source.batch(0, 4)[0][:, 0]])
    assert torch.equal(plain.sequence, hashed.sequence)


def test_with_context_words_have_what_stands_around_them_in_their_clause():
    words = ["a", "red", "star", ";", "2", "cats"]
    sequence, mask = HashedCaptionEncoder(context=True)(["A red star; 2 cats", None])
    assert sequence.shape == (2, 6, 736)
    assert mask.tolist() == [6 * [True], 6 * [False]]
    assert torch.equal(sequence[:1, :, :256], encoder(["A red star; 2 cats"]).sequence)
    before, after = sequence[0, :, 256:496], sequence[0, :, 496:]
    for place, word in enumerate(words):
        for found, step in ((before, -1), (after, 1)):
            wanted, other = torch.zeros(240), place + step
            while word != ";" and 0 <= other < 6 and words[other] != ";":
                wanted += by_the_formula(words[other]) / 2 ** abs(other - place)
                other += step
            torch.testing.assert_close(found[place], wanted)
