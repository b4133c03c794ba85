import pytest
import torch

from unmelt.condition import Condition


def everything(rows: int) -> Condition:
    count = torch.arange(rows)
    return Condition(
        label=count % 5,
        vector=torch.randn(rows, 3),
        sequence=torch.randn(rows, 4, 2),
        sequence_mask=(count[:, None] + torch.arange(4)) % 3 > 0,
        context=torch.randn(rows, 1, 6, 6),
        given=count % 2 == 0,
    )


def same(one: Condition, other: Condition) -> bool:
    names = ("label", "vector", "sequence", "sequence_mask", "context", "given")
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def test_rows_travel_together():
    whole = everything(7)
    assert len(whole) == 7
    parts = [whole[:2], whole[torch.tensor([2, 3])], whole[torch.tensor([False] * 4 + [True] * 3)]]
    assert [len(part) for part in parts] == [2, 2, 3]
    assert same(Condition.join(parts), whole)


def test_drop_is_row_by_row_and_adds_up():
    condition = Condition(label=torch.arange(4))
    rows = torch.tensor([True, False, False, True])
    once = condition.drop(rows)
    assert once.given.tolist() == [False, True, True, False]
    assert once.drop(torch.tensor([False, True, False, False])).given.tolist() == [False, False, True, False]
    assert torch.equal(once.label, condition.label)
    assert condition.given is None


def test_null_drops_every_row():
    whole = everything(3)
    assert whole.null().given.tolist() == [False] * 3
    assert Condition().null() == Condition()
    assert len(Condition()) == 0


def test_join_with_and_without_dropped_rows():
    plain, dropped = Condition(label=torch.arange(2)), Condition(label=torch.arange(3)).null()
    joined = Condition.join([plain, dropped])
    assert joined.given.tolist() == [True, True, False, False, False]
    assert joined.label.tolist() == [0, 1, 0, 1, 2]


def test_join_of_different_kinds_says_which():
    with pytest.raises(ValueError, match="'vector'"):
        Condition.join([Condition(label=torch.arange(2), vector=torch.zeros(2, 1)), Condition(label=torch.arange(2))])


def test_to_moves_every_part():
    moved = everything(2).to("meta")
    assert all(getattr(moved, name).device.type == "meta" for name in ("label", "vector", "context", "given"))
