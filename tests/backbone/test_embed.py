"""Embeddings: near values near, different values different."""

import math

import pytest
import torch

from unmelt.backbone.embed import LevelEmbedding, position_embedding
from unmelt.errors import UsageError


def test_level_embedding_resolves_its_whole_range():
    level = torch.linspace(-2.5, 2.5, 2001)
    waves = LevelEmbedding()(level)
    apart = torch.cdist(waves, waves, compute_mode="donot_use_mm_for_euclid_dist")
    assert apart.diagonal(1).min() > 0.9 * apart.diagonal(1).max()  # as fine at one end as at the other
    far = (level[:, None] - level).abs() > 0.05  # noise 20 percent stronger or more
    assert apart[far].min() > apart.diagonal(1).max() * 10


def test_level_embedding_is_sines_and_cosines():
    embed = LevelEmbedding()
    waves = embed(torch.tensor([0.0, 1.3]))
    sine, cosine = waves.chunk(2, dim=1)
    torch.testing.assert_close(sine.square() + cosine.square(), torch.ones_like(sine), atol=1e-5, rtol=0)
    assert sine[1, 0].item() == pytest.approx(math.sin(2 * math.pi * 1.3 / 16), abs=1e-6)
    assert sine[1, -1].item() == pytest.approx(math.sin(2 * math.pi * 1.3 * 4), abs=1e-4)


def test_level_embedding_in_bfloat16_is_computed_in_float32():
    """The level arrives rounded, but must not be rounded again."""
    level = torch.tensor([0.5, 1.25, -2.0])
    rough, fine = LevelEmbedding().bfloat16()(level.bfloat16()), LevelEmbedding()(level)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float()[:, :5], fine[:, :5], atol=0.02, rtol=0)


@pytest.mark.parametrize("size", [(1,), (1000,), (30, 40), (7, 8, 9), (3, 4, 5, 6)])
@pytest.mark.parametrize("width", [8, 21, 64])
def test_positions_are_all_different(size, width):
    embedding = position_embedding(size, width)
    assert embedding.shape == (math.prod(size), width)
    apart = torch.cdist(embedding, embedding, compute_mode="donot_use_mm_for_euclid_dist")
    assert apart.fill_diagonal_(torch.inf).min() > 1e-3


def test_each_dimension_has_features_of_its_own():
    embedding = position_embedding((5, 6), 16).view(5, 6, 16)
    moved_in_y = (embedding[1:] != embedding[:-1]).any(0).any(0)
    moved_in_x = (embedding[:, 1:] != embedding[:, :-1]).any(0).any(0)
    assert not (moved_in_x & moved_in_y).any()


def test_a_width_too_small_for_the_dimensions_is_refused():
    with pytest.raises(UsageError, match="width=6"):
        position_embedding((4, 4, 4), 5)
