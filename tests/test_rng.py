import pytest
import torch

from unmelt.rng import RowSeeds, Stream, fold


def test_fold_gives_distinct_reproducible_seeds():
    seeds = {fold(seed, number) for seed in range(100) for number in range(100)}
    assert len(seeds) == 10_000
    assert all(0 <= value < 1 << 63 for value in seeds)
    assert fold(3, 4) == fold(3, 4) != fold(4, 3)


def test_stream_is_reproducible_and_each_draw_differs():
    one, other = Stream(7), Stream(7)
    first = one.normal((4, 3))
    assert torch.equal(first, other.normal((4, 3)))
    assert not torch.equal(first, one.normal((4, 3)))
    assert not torch.equal(first, Stream(8).normal((4, 3)))


def test_a_row_draws_the_same_in_a_small_and_a_large_batch():
    small, large = RowSeeds.of(5, 3), RowSeeds.of(5, 40)
    for draw in ("normal", "uniform"):
        assert torch.equal(getattr(small, draw)((3, 17)), getattr(large, draw)((40, 17))[:3])


def test_rows_repeat_a_draw_until_they_are_advanced():
    rows = RowSeeds.of(0, 2)
    assert torch.equal(rows.normal((2, 5)), rows.normal((2, 5)))
    assert not torch.equal(rows.normal((2, 5)), rows.advance().normal((2, 5)))


def test_rows_seeded_one_by_one_equal_rows_drawn_alone():
    alone = [RowSeeds.of([seed], 1).normal((1, 6)) for seed in (11, 12, 13)]
    assert torch.equal(torch.cat(alone), RowSeeds.of([11, 12, 13], 3).normal((3, 6)))
    with pytest.raises(ValueError, match="2 seeds for 3 rows"):
        RowSeeds.of([1, 2], 3)


def test_split_and_joined_rows_draw_as_before():
    rows = RowSeeds.of(9, 6).advance()
    joined = RowSeeds.join(
        [rows[4:], rows[torch.tensor([0, 2])], rows[torch.tensor([False, True, False, True, False, False])]]
    )
    order = torch.tensor([4, 5, 0, 2, 1, 3])
    assert torch.equal(joined.normal((6, 4)), rows.normal((6, 4))[order])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_have_the_moments_of_their_distribution(dtype):
    rows, many = RowSeeds.of(1, 4), 50_000
    normal, uniform = rows.normal((4, many), dtype), rows.uniform((4, many), dtype)
    assert normal.dtype == uniform.dtype == dtype
    assert (normal.mean(1).abs() < 5 / many**0.5).all()
    assert ((normal.var(1) - 1).abs() < 5 * (2 / many) ** 0.5).all()
    assert ((normal**4).mean(1) - 3).abs().max() < 5 * (96 / many) ** 0.5
    assert (torch.corrcoef(normal) - torch.eye(4, dtype=dtype)).abs().max() < 5 / many**0.5
    assert ((uniform >= 0) & (uniform < 1)).all()
    spacing = uniform.sort(1).values - (torch.arange(many) + 0.5) / many
    assert spacing.abs().max() < 2 / many**0.5  # Kolmogorov-Smirnov, beyond one in a thousand


def test_neighbouring_seeds_and_draws_are_uncorrelated():
    many = torch.cat([RowSeeds.of(seed, 8).normal((8, 500)) for seed in range(8)])
    later = RowSeeds.of(0, 8).advance().normal((8, 500))
    correlation = torch.corrcoef(torch.cat([many, later])) - torch.eye(72)
    assert correlation.abs().max() < 5.5 / 500**0.5
