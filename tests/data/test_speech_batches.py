"""Batches of speech: padding, similar lengths, known frames, parts of a batch."""

import pytest
import torch

from unmelt.codec import Mel
from unmelt.condition import KNOWN_FRAMES
from unmelt.data import Recordings, SpeechBatches
from unmelt.encoder import CharacterEncoder
from unmelt.errors import UsageError

MEL = Mel(sample_rate=4000, n_fft=64, hop=16, bands=6)
ENCODER = CharacterEncoder(alphabet=" ab")


def source(n=64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(200, 1600, (n,), generator=rng).tolist()
    sounds = (3000 * torch.randn(sum(lengths), generator=rng)).to(torch.int16)
    return Recordings(sounds, lengths, ["ab" * (1 + k % 5) for k in range(n)], 4000, torch.arange(n) % 2, ("x", "y"))


def batches(**settings):
    return SpeechBatches(source(), MEL.encode, ENCODER, **settings)


def test_known_and_generated_frames_are_those_of_the_recording():
    made = batches()
    for step in range(3):
        x, condition = made.batch(step, 4)
        known, flag = condition.extra[KNOWN_FRAMES][..., :-1], condition.extra[KNOWN_FRAMES][..., -1] > 0
        assert not (flag & condition.x_mask).any()
        assert not x[~condition.x_mask].any()
        assert not known[~flag].any()
        for row, item in enumerate(made.items(step, 4).tolist()):
            whole = MEL.encode(made.source.sound(item)[None, None])[0]
            torch.testing.assert_close((x + known)[row, : len(whole)], whole)
            real = condition.x_mask[row] | flag[row]
            assert real.sum() == len(whole) == real.nonzero().max() + 1
            text = made.source.texts[item]
            assert condition.sequence_mask[row].sum() == len(text) + 2


def test_a_span_of_some_rows_is_generated_and_the_rest_known():
    made, shares, with_some, to_end, unnamed = batches(), [], 0, 0, 0
    for step in range(40):
        _, condition = made.batch(step, 4)
        flag = condition.extra[KNOWN_FRAMES][..., -1] > 0
        for row in range(4):
            generated = condition.x_mask[row].nonzero()[:, 0]
            assert len(generated) == generated[-1] - generated[0] + 1
            count = int((condition.x_mask[row] | flag[row]).sum())
            shares.append(len(generated) / count)
            some = bool(flag[row].any())
            assert bool(condition.given[KNOWN_FRAMES][row]) == some
            with_some += some
            to_end += some and int(generated[-1]) == count - 1
            unnamed += some and not condition.given["label"][row]
            assert some or condition.given["label"][row]
    assert min(shares) > 0.68
    assert 55 < with_some < 105
    assert 0.3 < to_end / with_some < 0.75
    assert 0.6 < unnamed / with_some < 0.9


def test_every_recording_comes_once_an_epoch_and_lengths_are_similar():
    made = batches()
    seen = torch.cat([made.items(step, 4) for step in range(16)])
    assert sorted(seen.tolist()) == list(range(64))
    lengths = made.source.lengths
    spread = torch.stack([lengths[made.items(step, 4)].double().std() for step in range(16)]).mean()
    assert spread < 0.25 * lengths.double().std()
    order = [int(lengths[made.items(step, 4)].max()) for step in range(8)]
    assert order != sorted(order)


def test_parts_of_a_batch_are_the_batch():
    whole, parts = batches(known_share=0.0).with_batch(4), batches(known_share=0.0).with_batch(4)
    x, condition = whole.batch(1, 4)
    halves = [parts.batch(2, 2), parts.batch(3, 2)]
    assert torch.equal(torch.cat([half[0] for half in halves]), x)
    assert torch.equal(torch.cat([half[1].x_mask for half in halves]), condition.x_mask)
    assert KNOWN_FRAMES not in condition.extra
    with pytest.raises(UsageError, match="equal parts"):
        whole.batch(0, 3)
