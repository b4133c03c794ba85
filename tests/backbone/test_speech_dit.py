"""The transformer over frames of speech: padding, known frames, stretched characters, voices, dropping."""

from dataclasses import replace

import pytest
import torch
from networks import awake

from unmelt.backbone import SpeechDiT
from unmelt.condition import KNOWN_FRAMES, Condition
from unmelt.errors import UsageError

BANDS, LETTERS = 4, 5
LENGTHS, SAID, KNOWN = (9, 7, 4), (5, 6, 3), (0, 2, 1)


def network(**settings):
    made = SpeechDiT(
        bands=BANDS,
        sequence_width=LETTERS,
        width=16,
        depth=2,
        heads=2,
        text_width=8,
        text_depth=2,
        classes=3,
        **settings,
    )
    return awake(made.double())


def inputs(frames=9):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(3, frames, BANDS, generator=rng, dtype=torch.float64)
    letters = torch.randint(LETTERS, (3, 6), generator=rng)
    frame = torch.arange(frames)
    known = (frame < torch.tensor(KNOWN)[:, None]).double()[..., None]
    content = torch.randn(3, frames, BANDS, generator=rng, dtype=torch.float64) * known
    condition = Condition(
        label=torch.tensor([0, 2, 1]),
        sequence=torch.nn.functional.one_hot(letters, LETTERS).double(),
        sequence_mask=torch.arange(6) < torch.tensor(SAID)[:, None],
        x_mask=(frame < torch.tensor(LENGTHS)[:, None]) & (frame >= torch.tensor(KNOWN)[:, None]),
        extra={KNOWN_FRAMES: torch.cat([content, known], -1)},
    )
    return x, torch.linspace(-2, 2, 3).double(), condition


def cut(condition, row, frames, said):
    one = condition[row : row + 1]
    return replace(
        one,
        sequence=one.sequence[:, :said],
        sequence_mask=None,
        x_mask=one.x_mask[:, :frames],
        extra={KNOWN_FRAMES: one.extra[KNOWN_FRAMES][:, :frames]},
    )


def test_a_row_is_the_same_alone_and_without_its_padding():
    made, (x, level, condition) = network(), inputs()
    with torch.no_grad():
        together = made(x, level, condition)
        for row, (frames, said) in enumerate(zip(LENGTHS, SAID, strict=True)):
            alone = made(x[row : row + 1, :frames], level[row : row + 1], cut(condition, row, frames, said))
            torch.testing.assert_close(together[row, :frames], alone[0], atol=1e-10, rtol=0)


def test_a_row_of_the_trained_precision_is_the_same_to_a_millionth():
    made, (x, level, condition) = network().float(), inputs()
    x, level = x.float(), level.float()
    condition = replace(
        condition, sequence=condition.sequence.float(), extra={KNOWN_FRAMES: condition.extra[KNOWN_FRAMES].float()}
    )
    with torch.no_grad():
        together = made(x, level, condition)
        alone = made(x[1:2, :7], level[1:2], cut(condition, 1, 7, 6))
    torch.testing.assert_close(together[1, :7], alone[0], atol=1e-6, rtol=1e-6)


def test_nothing_is_read_from_padding_or_from_x_at_known_frames():
    made, (x, level, condition) = network(), inputs()
    other = torch.where(condition.x_mask[..., None], x, 100.0)
    sequence = torch.where(condition.sequence_mask[..., None], condition.sequence, 100.0)
    with torch.no_grad():
        before, after = made(x, level, condition), made(other, level, replace(condition, sequence=sequence))
    torch.testing.assert_close(before * condition.x_mask[..., None], after * condition.x_mask[..., None])


def test_frames_read_the_characters_spread_evenly_over_them():
    made, (x, level, condition) = network(), inputs()
    made.blocks, made.text_blocks = torch.nn.ModuleList(), torch.nn.ModuleList()
    made.modulation = torch.nn.Linear(16, 2 * 16).double()
    with torch.no_grad():
        before = made(x, level, condition)
        for letter in range(SAID[1]):
            sequence = condition.sequence.clone()
            sequence[1, letter] = sequence[1, letter].roll(1)
            after = made(x, level, replace(condition, sequence=sequence))
            changed = (after != before).any(-1)[1, : LENGTHS[1]]
            wanted = torch.tensor([frame * SAID[1] // LENGTHS[1] == letter for frame in range(LENGTHS[1])])
            assert torch.equal(changed, wanted), letter


def test_every_condition_is_heard_and_dropping_is_the_same_as_not_giving():
    made, (x, level, condition) = network(), inputs()
    everywhere = torch.ones(3, dtype=torch.bool)
    with torch.no_grad():
        full = made(x, level, condition)
        seen = condition.x_mask[..., None]
        for name in ("label", "sequence", KNOWN_FRAMES):
            dropped = made(x, level, condition.drop(everywhere, [name]))
            heard = ((dropped - full) * seen).abs().amax((1, 2))
            assert (heard[1:] > 1e-4).all(), name
        without = made(x, level, replace(condition, label=None))
        assert torch.equal(without, made(x, level, condition.drop(everywhere, ["label"])))
        null = made(x, level, condition.null())
        bare = Condition(x_mask=condition.x_mask, extra={KNOWN_FRAMES: 0 * condition.extra[KNOWN_FRAMES]})
        torch.testing.assert_close(null[0], made(x, level, bare)[0])


def test_a_frame_hears_what_a_known_frame_says():
    made, (x, level, condition) = network(), inputs()
    known = condition.extra[KNOWN_FRAMES].clone()
    known[1, 0, 0] += 1.0
    with torch.no_grad():
        change = made(x, level, replace(condition, extra={KNOWN_FRAMES: known})) - made(x, level, condition)
    assert (change[1, 2:7].abs().amax(-1) > 1e-6).all()
    assert not change[[0, 2]].any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sequence": torch.zeros(3, 6, 2).double()}, "sequence of 2 numbers"),
        ({"x_mask": torch.ones(3, 4, dtype=torch.bool)}, "x_mask of shape"),
        ({"vector": torch.zeros(3, 2).double()}, "vector or a context"),
        ({"extra": {KNOWN_FRAMES: torch.zeros(3, 9, 4).double()}}, "known frames of shape"),
    ],
)
def test_what_does_not_fit_is_refused(change, says):
    made, (x, level, condition) = network(), inputs()
    with pytest.raises(UsageError, match=says):
        made(x, level, replace(condition, **change))


def test_frames_of_another_width_are_refused():
    with pytest.raises(UsageError, match="frames of 4 bands"):
        network()(torch.zeros(1, 5, 3).double(), torch.zeros(1).double())
