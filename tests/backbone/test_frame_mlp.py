"""What is particular to the perceptron on frames, and to standardised vectors."""

import pytest
import torch
from networks import KNOWS, awake

from unmelt.backbone import MLP, FrameMLP, StandardizedVector
from unmelt.condition import Condition
from unmelt.errors import UsageError

ROWS, FRAMES, SHAPE = 3, 4, (2,)


def network(**arguments):
    settings = {"frames": FRAMES, "shape": SHAPE, "width": 16, "depth": 2} | KNOWS | arguments
    return awake(FrameMLP(**settings)).double()


def inputs():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, FRAMES, *SHAPE, dtype=torch.float64, generator=rng)
    return x, torch.randn(ROWS, FRAMES, dtype=torch.float64, generator=rng)


def test_levels_equal_along_frames_are_levels_of_rows():
    (x, level), model = inputs(), network()
    row = level[:, 0]
    fine = row[:, None].expand(ROWS, FRAMES)
    torch.testing.assert_close(model(x, fine), model(x, row), rtol=1e-12, atol=1e-12)


def test_the_level_of_each_frame_matters():
    (x, level), model = inputs(), network()
    before = model(x, level)
    for frame in range(FRAMES):
        changed = level.clone()
        changed[:, frame] += 0.5
        other = (frame + 1) % FRAMES
        changed[:, other] -= 0.5  # the mean level stays as it is
        assert not torch.allclose(model(x, changed), before, atol=1e-3)


def test_vectors_are_standardised_in_their_own_units():
    rng = torch.Generator().manual_seed(1)
    inner = awake(MLP(shape=(2,), width=8, depth=1, vector_width=4)).double()
    x, level = torch.randn(ROWS, 2, dtype=torch.float64, generator=rng), torch.zeros(ROWS, dtype=torch.float64)
    raw = 50 + 7 * torch.randn(ROWS, 4, dtype=torch.float64, generator=rng)
    made = StandardizedVector(inner, mean=(50.0, 40.0), sd=(7.0, 2.0))
    plain = (raw - torch.tensor([50.0, 40.0, 50.0, 40.0])) / torch.tensor([7.0, 2.0, 7.0, 2.0])
    torch.testing.assert_close(made(x, level, Condition(vector=raw)), inner(x, level, Condition(vector=plain)))
    dropped = Condition(vector=raw).drop(torch.ones(ROWS, dtype=torch.bool))
    torch.testing.assert_close(made(x, level, dropped), inner(x, level))
    assert list(made.state_dict()) == [f"backbone.{name}" for name in inner.state_dict()]


def test_what_does_not_fit_is_refused():
    x, level = inputs()
    with pytest.raises(UsageError, match="4 frames of shape"):
        network()(x[:, :2], level[:, :2])
    with pytest.raises(UsageError, match="one level a row, or one a frame"):
        network()(x, level[:, :3])
    with pytest.raises(UsageError, match="3 means and 3 standard deviations for vectors of 4 numbers"):
        StandardizedVector(MLP(shape=(2,), vector_width=4), mean=(0.0,) * 3, sd=(1.0,) * 3)
    made = StandardizedVector(MLP(shape=(2,), vector_width=4), mean=(0.0,), sd=(1.0,))
    with pytest.raises(UsageError, match="made for 4"):
        made(x[:, 0].float(), level[:, 0].float(), Condition(vector=torch.zeros(ROWS, 5)))
