"""A transformer on tokens that reads a sequence: padding is not read, and a cache changes nothing."""

import pytest
import torch
from networks import awake

from unmelt.backbone import Transformer
from unmelt.condition import Condition
from unmelt.errors import UsageError

ROWS, LENGTH, WORDS, WIDTH = 3, 8, 5, 4


def network(**settings):
    made = Transformer(
        input_vocabulary=7, vocabulary=6, length=LENGTH, width=16, depth=2, heads=2, sequence_width=WIDTH, **settings
    )
    return awake(made).double()


@pytest.fixture
def x():
    return torch.randint(7, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def known():
    """Sequences of 5, 3 and no tokens."""
    sequence = torch.randn(ROWS, WORDS, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Condition(sequence=sequence, sequence_mask=torch.arange(WORDS) < torch.tensor([[5], [3], [0]]))


LEVEL = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)


@torch.no_grad()
def test_padding_from_16_to_77_tokens_changes_nothing(x, known):
    made, logits = network(), {}
    for length in (16, 77):
        sequence = torch.full((ROWS, length, WIDTH), 9.0, dtype=torch.float64)
        sequence[:, :WORDS], mask = known.sequence, torch.zeros(ROWS, length, dtype=torch.bool)
        mask[:, :WORDS] = known.sequence_mask
        logits[length] = made(x, LEVEL, Condition(sequence=sequence, sequence_mask=mask))
    assert (logits[16] - logits[77]).abs().max() <= 1e-12
    assert (logits[16] - made(x, LEVEL, known)).abs().max() <= 1e-12


@torch.no_grad()
def test_every_row_reads_its_own_sequence_and_a_row_without_one_reads_the_null(x, known):
    made = network()
    logits, none = made(x, LEVEL, known), made(x, LEVEL)
    assert ((logits - none).abs().amax((1, 2)) > 1e-3).tolist() == [True, True, False]
    for row in range(ROWS):
        alone = made(x[row : row + 1], LEVEL[row : row + 1], known[row : row + 1])
        assert (alone[0] - logits[row]).abs().max() <= 1e-12


@torch.no_grad()
def test_block_by_block_with_a_cache_is_all_at_once(x, known):
    made = network(block=2)
    whole, cache = made(x, LEVEL, known), made.init_cache(ROWS, LENGTH)
    for first in range(0, LENGTH, 2):
        positions = torch.arange(first, first + 2).expand(ROWS, -1)
        part = made(x, LEVEL, known, cache=cache, positions=positions)
        assert (part - whole[:, first : first + 2]).abs().max() <= 1e-12


def test_a_sequence_for_a_network_without_one_is_refused(x, known):
    deaf = Transformer(input_vocabulary=7, vocabulary=6, length=LENGTH, width=16, depth=1, heads=2, classes=2)
    with pytest.raises(UsageError, match="sequence_width=4"):
        deaf(x, LEVEL, known)
