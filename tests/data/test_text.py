"""Text: reading files, folders and JSON lines; packing rows of tokens; splits; fill in the middle; sudoku and facts."""

import gzip
import json

import pytest
import torch

import unmelt as um
from unmelt.codec import BPE, Bytes, Symbols, Tokenizer
from unmelt.data import (
    Arrays,
    FillInTheMiddle,
    Sudoku,
    documents,
    pack_tokens,
    python_source,
    reversal_facts,
    split_documents,
)
from unmelt.data.sudoku import is_grid, solutions

TEXTS = ["The sea, the sea.", "def area(r):\n    return 3 * r ** 2\n", "naïve ☃ 雪 \U0001f600", " ", "a" * 50]


@pytest.mark.parametrize("tokenizer", [Bytes(), BPE.learned(TEXTS, 300)], ids=["bytes", "bpe"])
@pytest.mark.parametrize("text", [*TEXTS, "Ünseen: æøå\r\n\t\0"])
def test_tokenizers_round_trip_any_text(tokenizer, text):
    assert isinstance(tokenizer, Tokenizer)
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert int(tokenizer.sizes[torch.tensor(tokens)].sum()) == len(text.encode())
    assert max(tokens) < tokenizer.vocabulary
    marked = [tokenizer.special("prefix"), *tokens, tokenizer.special("end"), tokenizer.special("padding")]
    assert tokenizer.decode(marked) == text
    assert tokenizer.sizes[tokenizer.special("end")] == 0


def test_bpe_is_rebuilt_from_its_merges():
    learned = BPE.learned(TEXTS * 3, 320)
    again = um.config.build(json.loads(json.dumps(um.config.describe(learned))))
    assert again == learned
    assert all(again.encode(text) == learned.encode(text) for text in TEXTS)
    assert len(learned.encode("the sea" * 5)) < len("the sea" * 5)
    with pytest.raises(um.UsageError, match="vocabulary=100"):
        BPE.learned(TEXTS, 100)


def test_symbols_refuse_unknown_characters():
    letters = Symbols("ab")
    assert letters.decode(letters.encode("abba")) == "abba"
    with pytest.raises(um.UsageError, match="'c' in it"):
        letters.encode("abc")
    with pytest.raises(um.UsageError, match="each of them once"):
        Symbols("aa")


def test_documents_are_read_and_unreadable_files_are_named(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("second", encoding="utf-8")
    (tmp_path / "a.md").write_text("first", encoding="utf-8")
    (tmp_path / "deep" / "c.py").write_text("third", encoding="utf-8")
    (tmp_path / ".hidden").write_text("no", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("  \n", encoding="utf-8")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    (tmp_path / "zip.gz").write_bytes(gzip.compress(b"text"))
    (tmp_path / "null.bin").write_bytes(b"abc\0def")
    (tmp_path / "lines.jsonl").write_text(
        '{"text": "one"}\n\n{"text": ""}\n{"other": "x"}\nbroken\n{"text": "two"}\n', encoding="utf-8"
    )
    found, report = documents(tmp_path)
    assert [each.text for each in found] == ["first", "second", "third", "one", "two"]
    assert report.documents == 5
    text = str(report)
    assert "7 left out" in text
    assert len(report.refused) == 7
    for name in ("empty.txt is empty", "image.png is not UTF-8", "null.bin is binary", "lines.jsonl:3 has no text"):
        assert any(name in each for each in report.refused)
    assert documents(tmp_path / "a.md")[0][0].text == "first"
    with pytest.raises(um.UsageError, match="there is no"):
        documents(tmp_path / "none")
    with pytest.raises(um.UsageError, match="is empty"):
        documents(tmp_path / "empty.txt")
    with pytest.raises(um.UsageError, match="'words'"):
        documents(tmp_path / "lines.jsonl", column="words")


def test_packed_rows_concatenate_texts_with_end_tokens():
    tokenizer = Bytes()
    rows = pack_tokens(["abc", "defgh"], tokenizer, 4)
    flat = rows.values.flatten().tolist()
    end, padding = tokenizer.special("end"), tokenizer.special("padding")
    assert flat == [*b"abc", end, *b"defgh", end, padding, padding]
    assert rows.shape == (4,)


def test_documents_are_split_by_file_and_a_single_document_is_cut():
    every = [um.data.Document(str(number), f"text {number}") for number in range(40)]
    rest, held_out = split_documents(every, 0.1)
    assert len(held_out) + len(rest) == 40
    assert 1 <= len(held_out) <= 9
    assert not {each.name for each in rest} & {each.name for each in held_out}
    assert split_documents(every, 0.1) == (rest, held_out)
    (whole,), (its_end,) = split_documents([um.data.Document("book", "x" * 90 + "y" * 10)], 0.1)
    assert whole.text + its_end.text == "x" * 90 + "y" * 10


def test_python_source_leaves_out_tests_and_generated_files():
    found = python_source()
    names = {each.name for each in found}
    assert {"argparse.py", "json/decoder.py"} <= names
    assert not any("test" in name.split("/")[:-1] or name.startswith(("encodings", "pydoc_data")) for name in names)
    assert sum(len(each.text) for each in found) > 5_000_000


def test_fill_in_the_middle_only_reorders_rows():
    source = Arrays(torch.arange(20 * 12).view(20, 12))
    marks = (900, 901, 902, 903)
    x, _ = source.batch(3, 10)
    moved, _ = FillInTheMiddle(source, 0.5, marks, seed=1).batch(3, 10)
    assert torch.equal(moved, FillInTheMiddle(source, 0.5, marks, seed=1).batch(3, 10)[0])
    changed = 0
    for before, after in zip(x.tolist(), moved.tolist(), strict=True):
        if before == after:
            continue
        changed += 1
        at = [after.index(mark) for mark in marks]
        assert at[:2] == [0, 1]
        suffix, prefix_and_middle = after[2 : at[2]], after[at[2] + 1 : -1]
        assert prefix_and_middle + suffix == before[:8]
        assert after[-1] == marks[-1]
    assert 1 <= changed <= 9
    assert torch.equal(FillInTheMiddle(source, 0.0, marks).batch(3, 10)[0], x)


def test_sudoku_grids_are_valid_and_held_out_grids_are_disjoint():
    every = solutions([-1] * 16, 4, 1000)
    assert len(every) == 288
    for side in (4, 9):
        rest, held_out = Sudoku(side), Sudoku(side, held_out=True)
        grids = rest.grids(0, 50).tolist()
        assert all(is_grid(grid, side) for grid in grids)
        assert torch.equal(rest.grids(5, 8), Sudoku(side).grids(5, 8))
        if side == 4:
            learned = {tuple(grid) for step in range(20) for grid in rest.grids(step, 200).tolist()}
            judged = {tuple(grid) for step in range(20) for grid in held_out.grids(step, 200).tolist()}
            assert len(learned) + len(judged) == 288
            assert not learned & judged
    assert not is_grid([0] * 16, 4)
    with pytest.raises(um.UsageError, match="side=5"):
        Sudoku(5)


def test_sudoku_coordinates_are_row_column_and_box():
    grid, written = Sudoku(4), Sudoku(4, with_puzzle=True)
    cells = grid.coordinates
    for cell, (line, column, box) in enumerate(cells):
        assert (line, column, box) == (cell // 4, cell % 4, cell // 8 * 2 + cell % 4 // 2)
    assert [sum(each[2] == box for each in Sudoku(9).coordinates) for box in range(9)] == [9] * 9
    x, _ = written.batch(0, 1)
    assert len(written.coordinates) == x.shape[1]
    for place, (*cell, number) in enumerate(written.coordinates):
        assert number == place
        if 1 <= place <= 16:
            assert tuple(cell) == cells[place - 1]  # of the puzzle's token read there
        elif place:
            assert tuple(cell) == cells[place - 17]  # of the grid's token to come


@pytest.mark.parametrize("written", [False, True])
def test_puzzles_have_a_unique_solution_and_need_every_clue(written):
    source = Sudoku(4, written, held_out=True)
    asked, answers = source.questions(12)
    for text, answer in zip(asked, answers, strict=True):
        puzzle, solved = (text[:16].replace(".", um.data.GAP_MARKER), answer[-16:])
        clues = [-1 if letter == um.data.GAP_MARKER else int(letter) - 1 for letter in puzzle]
        assert [[digit + 1 for digit in grid] for grid in solutions(clues, 4, 5)] == [[int(x) for x in solved]]
        for cell, clue in enumerate(clues):
            if clue >= 0:
                assert len(solutions([*clues[:cell], -1, *clues[cell + 1 :]], 4, 2)) == 2
    if written:
        x, condition = source.batch(0, 5)
        assert x.shape == (5, 33)
        assert (x[:, 16] == 5).all()
        assert ((x[:, :16] == x[:, 17:]) | (x[:, :16] == 4)).all()
        assert torch.equal(condition.known_tokens >= 0, torch.arange(33).expand(5, -1) < 17)


def test_facts_are_stated_in_one_direction_and_asked_in_the_other():
    sentences, questions = reversal_facts(60, seed=1)
    assert len(sentences) == 60 + 20
    for kind, asked in questions.items():
        assert len(asked.asked) == 40
        for text, answer in zip(*asked, strict=True):
            gap = text.count(um.data.GAP_MARKER)
            assert len(text) == len(answer)
            assert answer in sentences if kind != "reversed" else answer not in sentences
            if kind == "gap":
                assert text.index(um.data.GAP_MARKER) + gap < len(text) or text.startswith("the capital")
            else:
                assert text.endswith(um.data.GAP_MARKER * gap)
    assert reversal_facts(60, seed=1) == (sentences, questions)
    for count in (0, 2, 10**6):
        with pytest.raises(um.UsageError, match=f"{count} facts"):
            reversal_facts(count)
