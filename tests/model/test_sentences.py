"""A text in the parts that are said at a time."""

from unmelt.model.sentences import sentences


def test_sentences_end_at_their_marks():
    assert sentences("One. Two! Is it three? Yes; four\n\nFive, and six") == [
        "One.", "Two!", "Is it three?", "Yes;", "four", "Five, and six",
    ]  # fmt: skip
    assert sentences("3.14 is no end. ... Go") == ["3.14 is no end.", "Go"]
    assert sentences(" ... ") == [" ... "]


def test_long_sentences_are_divided_after_commas_then_at_spaces_then_anywhere():
    assert sentences("one, two three, four five", 17) == ["one, two three,", "four five"]
    assert sentences("one two three four", 9) == ["one two", "three", "four"]
    assert sentences("onetwothree", 4) == ["onet", "woth", "ree"]
    long = "word " * 1000
    parts = sentences(long)
    assert max(map(len, parts)) <= 300
    assert " ".join(parts).split() == long.split()
