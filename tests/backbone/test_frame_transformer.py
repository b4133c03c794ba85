"""What is particular to the transformer over frames."""

import pytest
import torch
from networks import KNOWS, awake

from unmelt.backbone import FrameTransformer
from unmelt.condition import Condition
from unmelt.errors import UsageError

ROWS, FRAMES, SHAPE = 3, 5, (2, 2)


def network(**arguments):
    settings = {"frames": FRAMES, "shape": SHAPE, "width": 16, "depth": 2, "heads": 2} | KNOWS | arguments
    return awake(FrameTransformer(**settings)).double()


def inputs():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, FRAMES, *SHAPE, dtype=torch.float64, generator=rng)
    level = torch.randn(ROWS, FRAMES, dtype=torch.float64, generator=rng)
    sequence = torch.randn(ROWS, 3, 4, dtype=torch.float64, generator=rng)
    return x, level, Condition(label=torch.arange(ROWS), sequence=sequence)


@pytest.mark.parametrize("arrival", [False, True])
def test_levels_equal_along_frames_are_levels_of_rows(arrival):
    x, level, condition = inputs()
    model, row = network(with_arrival=arrival), level[:, 0]
    arrive = row - 1 if arrival else None
    along = None if arrive is None else arrive[:, None].expand(ROWS, FRAMES)
    fine = model(x, row[:, None].expand(ROWS, FRAMES), condition, along)
    torch.testing.assert_close(fine, model(x, row, condition, arrive), rtol=1e-12, atol=1e-12)


def test_causal_frames_depend_on_frames_before_them_alone():
    x, level, condition = inputs()
    later_x, later_level = x.clone(), level.clone()
    later_x[:, 3:] += 1
    later_level[:, 3:] -= 1
    causal, both = network(is_causal=True), network()
    same = causal(x, level, condition)[:, :3]
    torch.testing.assert_close(causal(later_x, later_level, condition)[:, :3], same, rtol=0, atol=1e-13)
    torch.testing.assert_close(causal(x[:, :3], level[:, :3], condition), same, rtol=0, atol=1e-13)
    assert not torch.allclose(both(later_x, later_level, condition)[:, :3], both(x, level, condition)[:, :3], atol=1e-3)


def test_the_level_of_each_frame_matters():
    x, level, condition = inputs()
    model = network()
    before = model(x, level, condition)
    for frame in range(FRAMES):
        changed = level.clone()
        changed[:, frame] += 0.5
        assert not torch.allclose(model(x, changed, condition)[:, frame], before[:, frame], atol=1e-3)


def test_one_number_a_frame():
    x = torch.randn(ROWS, FRAMES, dtype=torch.float64)
    assert network(shape=())(x, torch.zeros_like(x)).shape == x.shape


def test_what_does_not_fit_is_refused():
    x, level, _ = inputs()
    with pytest.raises(UsageError, match="at most 5 frames"):
        network()(torch.cat([x, x], 1), level)
    with pytest.raises(UsageError, match="one level a row, or one a frame"):
        network()(x, level[:, :3])
