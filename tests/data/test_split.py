"""An item's side is its own: others that are added or removed, or come in another order, do not move it."""

import pytest
import torch

import unmelt as um
from unmelt.data import Arrays, Document, digits, split_documents
from unmelt.data.split import check_split, held_out_by_content, held_out_by_position
from unmelt.rng import fold


def rows(count, first=0):
    return torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(first), dtype=torch.uint8)


def contents(source):
    return {bytes(row.flatten().tolist()) for row in source.values}


def test_the_share_is_kept_on_average_for_each_class():
    source = Arrays(rows(4000), torch.arange(4000) % 4)
    rest, out = source.split(0.1)
    assert len(rest) + len(out) == 4000
    assert not contents(rest) & contents(out)
    assert ((out.labels.bincount() - 100).abs() < 40).all()  # four standard deviations
    assert abs(len(out) - 400) < 80


def test_an_item_that_is_added_anywhere_moves_no_other_to_the_held_out_side():
    everything = rows(60)
    for count in range(2, 40):
        learned = contents(Arrays(everything[:count]).split(0.1)[0])
        for extra in range(40, 60):
            more = torch.cat([everything[extra : extra + 1], everything[:count]])
            assert not learned & contents(Arrays(more).split(0.1)[1])


def test_order_and_removal_change_nothing():
    source, part = Arrays(rows(300)), torch.randperm(300, generator=torch.Generator().manual_seed(1))
    held_out = contents(source.split(0.2)[1])
    assert contents(source.only(part).split(0.2)[1]) == held_out
    fewer = source.only(part[:200])
    assert contents(fewer.split(0.2)[1]) == held_out & contents(fewer)


def test_exact_duplicates_are_on_one_side():
    source = Arrays(torch.cat([rows(50), rows(50)]), torch.arange(100) % 3)  # also across classes
    rest, out = source.split(0.2)
    assert not contents(rest) & contents(out)


@pytest.mark.parametrize("count", range(2, 12))
def test_every_class_of_two_different_items_is_on_both_sides(count):
    for first in range(30):
        source = Arrays(rows(3 * count, first), torch.arange(3 * count) // count)
        for share in (0.1, 0.5, 0.9):
            for side in source.split(share):
                assert side.labels.unique().tolist() == [0, 1, 2]


def test_an_only_item_is_learned_from_and_copies_of_one_cannot_be_split():
    assert held_out_by_content([5, 6, 7], [[0], [1, 2]], 0.99, 0)[0] is False
    with pytest.raises(um.UsageError, match="two different items"):
        Arrays(torch.zeros(9, 2)).split(0.5)
    with pytest.raises(um.UsageError, match="content or position"):
        check_split(0.5, "name")


def test_the_held_out_digits_are_the_ones_they_always_were():
    """The rule of version 0.1.0, written out: published figures were measured on these very digits."""
    labels = torch.cat([digits().labels, digits(held_out=True).labels])
    assert digits(held_out=True).labels.bincount().tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert len(labels) == 1797
    group = list(range(100, 178))
    rank = sorted(group, key=lambda item: fold(0, item))[: round(0.2 * 78)]
    chosen = held_out_by_position(200, [group], 0.2, 0)
    assert [item for item, out in enumerate(chosen) if out] == sorted(rank)
    assert digits(held_out=True).identity()["contents"] == "61034fea6afb28d309aa5a34389c8c18"


def texts(count):
    return [Document(f"{k}.txt", f"document {k}") for k in range(count)]


def test_a_document_that_is_added_moves_no_other_to_the_held_out_side():
    for count in range(2, 30):
        learned = {each.text for each in split_documents(texts(count), 0.1)[0]}
        for extra in range(count, count + 10):
            more = [Document("0", f"another {extra}"), *texts(count)]
            rest, out = split_documents(more, 0.1)
            assert rest
            assert out
            assert not learned & {each.text for each in out}


def test_documents_of_one_text_are_cut_as_one_is():
    one, several = split_documents(texts(1), 0.5), split_documents([texts(1)[0], Document("b", "document 0")], 0.5)
    assert one == several
    assert one[0][0].text + one[1][0].text == "document 0"


def test_a_split_by_position_has_at_least_one_document_on_each_side():
    for count in range(2, 12):
        for share in (0.01, 0.99):
            rest, out = split_documents(texts(count), share, by="position")
            assert len(rest) + len(out) == count
            assert min(len(rest), len(out)) == 1
