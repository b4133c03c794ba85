"""Chorales by masked diffusion: what is known stays, what is filled is learned, and what is written can be read."""

import importlib

import pytest
import torch
from chorale_pieces import piece

import unmelt as um
from unmelt.data.chorale_grid import HELD, LOWEST, REST, UNKNOWN, sounding
from unmelt.data.wav import read_sound
from unmelt.errors import UsageError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    sizes = {"per_quarter": 1, "quarters": 8, "width": 32, "depth": 1, "heads": 2, "batch": 32, "picture_every": 0}
    with pytest.MonkeyPatch.context() as patch:
        recipe = importlib.import_module("unmelt.recipe.chorales")
        patch.setattr(recipe, "all_chorales", lambda: [piece(number) for number in range(30)])
        made = um.recipe.chorales(steps=150, lr=1e-2, held_out=0.3, **sizes)
    return made.fit(tmp_path_factory.mktemp("runs") / "chorales", device="cpu", quiet=True)


def test_a_melody_is_harmonised_as_in_the_pieces(model):
    whole = torch.stack([piece(number).grid(1) for number in range(20, 26)])
    asked = whole.clone()
    asked[:, :, 1:] = UNKNOWN
    made = um.fill_chorale(model, asked, temperature=0.0, seed=1)
    assert torch.equal(made[:, :, 0], whole[:, :, 0])
    assert (made == whole).double().mean() > 0.9  # three windows, of which none has seen the piece
    others = um.fill_chorale(model, asked.roll(1, 0), temperature=0.0, seed=1)
    assert (others[:, :, 1:] == whole[:, :, 1:]).double().mean() < 0.7


def test_what_is_known_stays_and_the_rest_is_notes(model):
    grid = torch.full((20, 4), UNKNOWN)
    grid[:8] = piece(1).grid(1)[:8]
    grid[15, 2] = REST
    made = um.fill_chorale(model, grid, seed=2)
    assert torch.equal(made[grid != UNKNOWN], grid[grid != UNKNOWN])
    assert ((made >= 0) & (made <= REST)).all()
    assert torch.equal(made, um.fill_chorale(model, grid, seed=2))
    assert not torch.equal(made, um.fill_chorale(model, grid, seed=3))
    assert torch.equal(um.fill_chorale(model, made), made)
    short = um.fill_chorale(model, grid[:3])
    assert torch.equal(short, grid[:3])


def test_it_is_loaded_with_its_modality_and_judged(model, tmp_path):
    loaded = um.load(model.folder, "cpu")
    assert loaded.modality == um.modality.Chorales(1)
    texts = loaded.sample(2, seed=1)
    assert texts == model.sample(2, seed=1)
    assert model.evaluate(rows=4)["bits_per_byte"] > 0
    assert model.save_preview(tmp_path / "x").exists()


def test_pieces_are_written_as_midi_sound_picture_and_letters(tmp_path):
    shown = um.modality.Chorales(2)
    text = um.data.chorale_text(piece(1).grid(2))
    assert [[tuple(note) for note in voice] for voice in shown.voices(text)] == [list(v) for v in piece(1).voices]
    (midi,) = shown.write([text], tmp_path / "x.mid")
    assert midi.read_bytes() == um.data.midi_bytes(piece(1).voices)
    sounds = shown.write([text, text], tmp_path / "x.wav")
    assert [each.name for each in sounds] == ["x-0.wav", "x-1.wav"]
    assert read_sound(sounds[0]).seconds == pytest.approx(24 * 60 / 80 + 0.08, abs=0.01)
    (letters,) = shown.write([text, text], tmp_path / "x.txt")
    assert letters.read_text(encoding="utf-8").split() == [text, text]
    picture = shown.draw([text])
    assert picture.size[0] == 48 * 8
    assert len(picture.getcolors(1 << 16)) == 7  # white, black keys, four voices, a line
    assert shown.write([text], tmp_path / "x.png")[0].exists()
    assert shown.strip([["\u2591" * len(text)], [text]], [1.0, 0.0]).size[0] == 48 * 8
    assert shown.breaks([text]).total == shown.breaks([text, text]).total / 2
    with pytest.raises(UsageError, match=r"\.mid"):
        shown.write([text], tmp_path / "x.mp3")


def test_parallel_voices_are_counted_in_pieces():
    grid = torch.tensor([[67 - LOWEST, 60 - LOWEST, 55 - LOWEST, 48 - LOWEST], [69 - LOWEST, 62 - LOWEST, HELD, HELD]])
    found = um.modality.Chorales().breaks([um.data.chorale_text(grid)])
    assert (found.fifths, found.octaves, found.notes) == (1, 0, 6)
    assert sounding(grid)[1].tolist() == [69, 62, 55, 48]


def test_mistakes_are_named(model):
    grid = torch.full((4, 4), UNKNOWN)
    digits = um.recipe.sudoku(steps=1)
    for wrong, given, said in (
        (digits, grid, "a model of text"),
        (model, grid[:, :3], r"\[moments, 4\]"),
        (model, grid + 99, "tokens from 98"),
    ):
        with pytest.raises(UsageError, match=said):
            um.fill_chorale(wrong, given)
