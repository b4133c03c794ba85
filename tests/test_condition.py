"""A condition keeps each row's own: split, joined with rows that know other things, and dropped to null."""

from dataclasses import replace

import pytest
import torch

from unmelt.condition import FIELDS, Condition
from unmelt.errors import UsageError


def everything(rows: int) -> Condition:
    count = torch.arange(rows)
    made = Condition(
        label=count % 5,
        vector=torch.randn(rows, 3),
        sequence=torch.randn(rows, 4, 2),
        sequence_mask=(count[:, None] + torch.arange(4)) % 3 > 0,
        context=torch.randn(rows, 1, 6, 6),
        known_tokens=count[:, None].expand(rows, 3) - 1,
        guidance_scale=1.0 + count,
        x_mask=torch.arange(5) <= count[:, None],
    )
    return made.drop(count % 2 == 1)


def same(one: Condition, other: Condition) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in FIELDS]
    pairs += [(one.given.get(name), other.given.get(name)) for name in {*one.given, *other.given}]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def test_split_and_join_give_the_same_condition():
    whole = everything(7)
    assert len(whole) == 7
    parts = [whole[:2], whole[torch.tensor([2, 3])], whole[torch.tensor([False] * 4 + [True] * 3)]]
    assert [len(part) for part in parts] == [2, 2, 3]
    assert same(Condition.join(parts), whole)


def test_drop_is_row_by_row_and_adds_up():
    condition = Condition(label=torch.arange(4))
    rows = torch.tensor([True, False, False, True])
    once = condition.drop(rows)
    assert once.is_given("label").tolist() == [False, True, True, False]
    twice = once.drop(torch.tensor([False, True, False, False]))
    assert twice.is_given("label").tolist() == [False, False, True, False]
    assert torch.equal(once.label, condition.label)
    assert condition.is_given("label") is None


def test_null_drops_every_row_but_no_known_tokens_and_no_scale():
    whole = everything(3)
    null = whole.null()
    assert {name: flags.tolist() for name, flags in null.given.items()} == {
        name: [False] * 3 for name in ("label", "vector", "sequence", "context")
    }
    assert torch.equal(null.known_tokens, whole.known_tokens)
    assert torch.equal(null.guidance_scale, whole.guidance_scale)
    assert torch.equal(null.x_mask, whole.x_mask)
    assert Condition().null() == Condition()
    assert len(Condition()) == 0


def test_join_with_and_without_dropped_rows():
    plain, dropped = Condition(label=torch.arange(2)), Condition(label=torch.arange(3)).null()
    joined = Condition.join([plain, dropped])
    assert joined.is_given("label").tolist() == [True, True, False, False, False]
    assert joined.label.tolist() == [0, 1, 0, 1, 2]


def test_rows_with_a_label_join_rows_with_a_vector_and_rows_with_nothing():
    label = Condition(label=torch.tensor([3, 4]))
    vector = Condition(vector=torch.ones(1, 2), guidance_scale=torch.tensor([2.5]))
    joined = Condition.join([label, None, vector], [2, 3, 1])
    assert len(joined) == 6
    assert joined.is_given("label").tolist() == [True, True, False, False, False, False]
    assert joined.is_given("vector").tolist() == [False] * 5 + [True]
    assert joined.guidance_scale.tolist() == [1.0] * 5 + [2.5]
    assert same(joined[:2], Condition(label=label.label, vector=torch.zeros(2, 2), guidance_scale=torch.ones(2),
        given={"label": torch.tensor([True, True]), "vector": torch.tensor([False, False])}))  # fmt: skip
    assert Condition.join([None, None], [2, 1]) is None


def test_sequences_of_different_lengths_are_padded_and_masked():
    short = Condition(sequence=torch.ones(1, 2, 3))
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    long = Condition(sequence=torch.ones(2, 4, 3), sequence_mask=mask)
    joined = Condition.join([short, long, Condition(label=torch.tensor([1]))])
    assert joined.sequence.shape == (4, 4, 3)
    assert joined.sequence_mask.sum(1).tolist() == [2, 4, 1, 0]
    assert joined.is_given("sequence").tolist() == [True, True, True, False]


def test_rows_that_lack_a_field_get_what_changes_nothing():
    none = {
        "known_tokens": torch.tensor([[-1, -1]]),  # no token is known
        "guidance_scale": torch.tensor([1.0]),  # unguided
        "adapter": torch.tensor([-1]),  # the base model
        "x_mask": torch.tensor([[True, True]]),  # all of x is generated
    }
    one = Condition(
        label=torch.tensor([3]),
        known_tokens=torch.tensor([[2, 0]]),
        guidance_scale=torch.tensor([4.0]),
        adapter=torch.tensor([0]),
        x_mask=torch.tensor([[True, False]]),
    )
    for parts in ([one, Condition(label=torch.tensor([1]))], [Condition(label=torch.tensor([1])), one]):
        joined = Condition.join(parts)
        lacks = parts.index(one) ^ 1
        for name, value in none.items():
            assert torch.equal(getattr(joined, name)[lacks : lacks + 1], value), name
            assert torch.equal(getattr(joined, name)[1 - lacks][None], getattr(one, name)), name


def test_fields_of_different_shapes_do_not_join():
    with pytest.raises(UsageError, match=r"a vector of shape \(1,\) and \(2,\)"):
        Condition.join([Condition(vector=torch.zeros(2, 1)), Condition(vector=torch.zeros(2, 2))])


def test_a_negative_condition_takes_the_place_of_the_null():
    away = Condition(sequence=torch.ones(2, 3, 4), given={"sequence": torch.tensor([True, False])})
    tokens = torch.zeros(2, 5, dtype=torch.int64)
    known = Condition(label=torch.tensor([1, 2]), known_tokens=tokens, adapter=torch.tensor([0, -1]), negative=away)
    null = known.null()
    assert null.label is None
    assert torch.equal(null.sequence, away.sequence)
    assert null.is_given("sequence").tolist() == [True, False]
    assert torch.equal(null.known_tokens, tokens)
    assert null.adapter.tolist() == [0, -1]
    assert null.negative is None
    assert not null.null().is_given("sequence").any()
    assert known[1:].null().is_given("sequence").tolist() == [False]
    assert known[torch.tensor([0, 0, 1])].negative.sequence.shape == (3, 3, 4)
    alone = Condition(negative=away)
    assert (len(alone), alone.is_droppable) == (2, True)
    with pytest.raises(UsageError, match="a negative condition of 2 rows for 1 rows"):
        Condition(label=torch.tensor([1]), negative=away)


def test_joined_rows_keep_their_negatives():
    away = Condition(sequence=torch.ones(1, 3, 4))
    parts = [Condition(label=torch.tensor([1]), negative=away), Condition(label=torch.tensor([2])), None]
    joined = Condition.join(parts, [1, 1, 2])
    null = joined.null()
    assert len(null) == 4
    assert null.is_given("sequence").tolist() == [True, False, False, False]
    assert torch.equal(null.sequence[0], away.sequence[0])
    assert Condition.join([None, Condition(negative=away)], [1, 1]).negative.is_given("sequence").tolist() == [
        False,
        True,
    ]


def test_what_is_kept_is_on_both_sides_of_guidance_and_is_no_reason_for_it():
    picture = torch.rand(2, 3, 4, 4)
    kept = Condition(extra={"edges": picture}, kept=("edges",))
    assert not kept.is_droppable
    known = replace(kept, label=torch.tensor([1, 2]), extra={"edges": picture, "mood": torch.ones(2, 1)})
    null = known.null()
    assert torch.equal(null.extra["edges"], picture)
    assert null.is_given("edges") is None
    assert not null.is_given("label").any()
    assert not null.is_given("mood").any()
    away = replace(known, negative=Condition(label=torch.tensor([3, 4])), given={"edges": torch.tensor([True, False])})
    assert away.null().extra.keys() == {"edges"}
    assert away.null().is_given("edges").tolist() == [True, False]
    joined = Condition.join([known, Condition(label=torch.tensor([5])), None], [2, 1, 1])
    assert joined.kept == ("edges",)
    assert joined.null().is_given("edges").tolist() == [True, True, False, False]
    assert torch.equal(joined[:2].null().extra["edges"], picture)
    with pytest.raises(UsageError, match="kept='depth', which is no extra"):
        replace(known, kept=("depth",))
