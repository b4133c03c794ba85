"""Chorales on a grid: music21 is the truth for what is read, small pieces for how windows are cut and moved."""

import importlib

import pytest
import torch

import unmelt as um
from unmelt.data.chorale_grid import HELD, LOWEST, REST, excerpt, note_events, sounding, transposed
from unmelt.errors import UsageError


def piece(name="a", tune=(60, 62, 64, 65), repeat=8, top=72):
    """Four voices that move in halves, the soprano in quarters; 32 quarters."""
    soprano = tuple((float(k), 1.0, top + tune[k % len(tune)] - 60) for k in range(4 * repeat))
    lower = [tuple((2.0 * k, 2.0, base + k % 3) for k in range(2 * repeat)) for base in (64, 55, 45)]
    return um.data.Chorale(name, (soprano, *lower), tuple(4.0 * k for k in range(repeat)))


def test_a_score_is_read_as_music21_reads_it():
    corpus = pytest.importorskip("music21.corpus")
    (path,) = [each for each in corpus.getComposer("bach") if each.name.startswith("bwv269")]
    found = um.data.read_chorale(path)
    score = corpus.parse(path)
    chords = score.chordify().stripTies()
    grid = found.grid(4)
    heard = sounding(grid)
    assert found.quarters == score.highestTime
    checked = 0
    for chord in score.chordify().flatten().getElementsByClass("Chord"):
        moment = 4 * chord.offset
        if moment == int(moment):
            pitches = {p.midi for p in chord.pitches}
            assert pitches == set(heard[int(moment)].tolist()) - {0}, moment
            checked += 1
    assert checked > 40
    assert len(chords.flatten().notes) > 40
    strokes = sum(len(part.stripTies().flatten().notes) for part in score.parts)
    assert int((grid < HELD).sum()) == strokes == sum(map(len, found.voices))
    assert found.bars[1] == score.parts[0].getElementsByClass("Measure")[1].offset
    assert um.data.read_chorale(path.with_name("missing.mxl")) is None


def test_notes_of_a_grid_are_those_of_the_piece():
    grid = piece().grid(2)
    assert grid.shape == (64, 4)
    assert grid[:4, 0].tolist() == [72 - LOWEST, HELD, 74 - LOWEST, HELD]
    for voice, notes in enumerate(piece().voices):
        found = [(b / 2, n / 2, pitch) for v, b, n, pitch in note_events(grid) if v == voice]
        assert found == list(notes)
    text = um.data.chorale_text(grid)
    assert len(text) == 256
    assert torch.equal(um.data.chorale_grid(text), grid)
    with pytest.raises(UsageError, match="'!'"):
        um.data.chorale_grid("ab!")


def test_a_rest_and_a_short_note_on_a_grid():
    notes = ((0.0, 0.25, 60), (0.25, 0.25, 62), (2.0, 1.0, 64))
    grid = um.data.Chorale("x", (notes,) * 4, (0.0,)).grid(2)
    assert grid[:, 0].tolist() == [60 - LOWEST, REST, REST, REST, 64 - LOWEST, HELD]  # the sixteenth is lost
    assert um.data.Chorale("x", (notes,) * 4, (0.0,)).grid(4)[:2, 0].tolist() == [60 - LOWEST, 62 - LOWEST]


def test_an_excerpt_strikes_notes_that_go_on():
    grid = piece().grid(2)
    part = excerpt(grid, 3, 8)
    assert torch.equal(sounding(part), sounding(grid)[3:11])
    assert (part[0] < HELD).all()
    assert torch.equal(part[1:], grid[4:11])


def test_windows_cover_a_piece_to_its_end():
    windows = um.data.chorale_windows([piece(), piece("short", repeat=5)])
    assert windows.shape == (2 + 2, 32, 4)
    assert torch.equal(windows[0], piece().grid()[:32])
    assert torch.equal(sounding(windows[3]), sounding(piece(repeat=5).grid())[-32:])
    with pytest.raises(UsageError, match="none of 64 quarters"):
        um.data.chorale_windows([piece()], quarters=64)


def test_training_windows_begin_at_bars_in_keys_that_the_voices_can_sing():
    low, high = piece("low", top=70), piece("high", top=75)
    source = um.data.ChoraleWindows([low, high], seed=3)
    assert source.shape == (128,)
    rows, condition = source.batch(0, 200)
    assert condition is None
    assert torch.equal(rows, source.batch(0, 200)[0])
    assert not torch.equal(rows, source.batch(1, 200)[0])
    wanted = {}
    for each in (low, high):
        for begin in range(0, 33, 8):
            for key in range(-5, 5):  # none has more, as the lower voices are the same in both
                wanted[tuple(transposed(excerpt(each.grid(), begin, 32), key).flatten().tolist())] = key
    assert {tuple(row) for row in rows.tolist()} <= wanted.keys()
    pitches = sounding(rows.view(-1, 4)).view(-1, 32, 4)
    assert {pitches[:, :, 0].min().item(), pitches[:, :, 0].max().item()} == {70, 80}
    assert pitches[:, :, 1].min() == 64  # all pieces have the same lower voices: no key but their own
    with pytest.raises(UsageError, match="a transposition by 40"):
        transposed(low.grid(), 40)


def test_a_melody_is_on_one_side_in_any_key():
    tunes = [(60, 60 + a, 60 + b, 61) for a in range(1, 8) for b in range(1, 8)]
    pieces = [piece(f"{k}", tune) for k, tune in enumerate(tunes)]
    higher = [piece(f"{k} higher", tune, top=70) for k, tune in enumerate(tunes)]
    train, aside = um.data.split_chorales([*pieces, *higher], 0.3)
    assert not {each.melody for each in train} & {each.melody for each in aside}
    assert 5 < len(aside) < 25
    assert len({each.melody for each in aside}) == len(aside)
    assert len(train) == 2 * (len(tunes) - len(aside))


def test_without_music21_one_message_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "music21", None)
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match=r"pip install 'unmelt\[music\]'"):
        um.recipe.chorales()


def test_scores_are_read_once(monkeypatch, tmp_path):
    module = importlib.import_module("unmelt.data.chorales")

    class Corpus:
        @staticmethod
        def getComposer(name):  # noqa: N802
            return [tmp_path / "b.mxl", tmp_path / "a.mxl"]

    read = []
    monkeypatch.setenv("UNMELT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_corpus", lambda: Corpus)
    monkeypatch.setattr(module, "_version", lambda: "1")
    monkeypatch.setattr(module, "read_chorale", lambda path: read.append(path) or piece(path.stem))
    assert [each.name for each in module.chorales()] == ["a", "b"]
    assert module.chorales() == [piece("a"), piece("b")]
    assert len(read) == 2
    (kept,) = (tmp_path / "cache").glob("*.json")
    kept.write_text("{}", encoding="utf-8")
    assert len(module.chorales()) == len(module.chorales()) == 2
