"""Pass by pass: what was proposed and written, as counts and as text."""

import pytest
import torch
from drafting.tables import TableDrafter, TableVerifier

from unmelt.drafting import Draft, Pass, Speculative, acceptance_by_place, decode, passes
from unmelt.drafting.pass_text import marked, pass_texts


def test_passes_are_those_of_decode():
    verifier, drafter = TableVerifier(3, length=12), TableDrafter(4)
    for seed in range(5):
        found = list(passes(Speculative(drafter, 3, end_token=2), verifier, [1], 10, [seed]))
        whole = decode(verifier, [[1]], 10, drafter=drafter, block=3, end_token=2, seed=[seed])
        assert [token for each in found for token in each.written] == whole.tokens[0]
        assert [len(found)] == whole.passes
        assert [sum(each.accepted for each in found)] == whole.accepted
        assert [sum(len(each.drafted) for each in found)] == whole.drafted
        for each in found:
            assert each.written[: each.accepted] == each.drafted[: each.accepted]
            assert each.drafted[: each.accepted] + each.rejected == each.drafted


def test_acceptance_is_counted_where_a_place_was_reached():
    found = [Pass([1, 2, 3], 3, [1, 2, 3, 0]), Pass([1, 2, 3], 1, [1, 0]), Pass([1], 0, [2]), Pass([], 0, [2])]
    assert acceptance_by_place(found, 4) == [2 / 3, 1 / 2, 1.0, 0.0]


def of_bytes(tokens):
    return bytes(tokens).decode("utf-8", "replace")


def test_text_of_passes_is_the_text_and_characters_stay_whole():
    text = "é ö".encode()
    found = [Pass([text[0], 65], 1, list(text[:2])), Pass([66], 0, [text[2]]), Pass([], 0, [text[3]])]
    found.append(Pass([text[4], 67, 68], 1, [text[4]]))  # the row ended among the drafted
    shown = list(pass_texts(of_bytes, list(b"x"), found))
    assert "".join(each.accepted + each.own for each in shown) == "é ö"
    assert [each.rejected for each in shown] == ["\ufffdA", "B", "", "CD"]
    assert marked(shown[1:2]) == "[-B-] "
    unfinished = list(pass_texts(of_bytes, [], [Pass([], 0, [text[0]])]))
    assert "".join(each.accepted + each.own for each in unfinished) == "\ufffd"


class Rows:
    """Drafts more than there is room for."""

    layers = ()

    def __call__(self, x, lengths, hidden, k, rng):
        return Draft(torch.ones(len(x), k, dtype=torch.int64), torch.full_like(lengths, k))


@pytest.mark.parametrize("room", [1, 2, 5])
def test_no_pass_proposes_more_than_there_is_room_for(room):
    found = list(passes(Speculative(Rows(), 8), TableVerifier(0, length=9), [], room))
    assert sum(len(each.written) for each in found) == room
    assert len(found[0].drafted) == room - 1
