"""MIDI as music21 reads it, and the organ's pitches by the spectrum of what it plays."""

import pytest
import torch

import unmelt as um

VOICES = [[(0.0, 1.0, 72), (1.0, 0.5, 74), (2.5, 300.0, 76)], [(0.0, 2.0, 60), (2.0, 1.0, 59)]]


def test_music21_reads_the_notes_that_were_written(tmp_path):
    midi = pytest.importorskip("music21.midi.translate")
    path = tmp_path / "x.mid"
    path.write_bytes(um.data.midi_bytes(VOICES, tempo=90.0))
    score = midi.midiFilePathToStream(str(path), quantizePost=False)
    assert score.flatten().getElementsByClass("MetronomeMark")[0].number == pytest.approx(90, abs=0.01)
    for part, notes in zip(score.parts, VOICES, strict=True):
        found = [(n.offset, n.quarterLength, n.pitch.midi) for n in part.stripTies().flatten().notes]
        assert found == notes


def test_a_note_sounds_at_its_pitch_and_for_its_time():
    rate = 8000
    x = um.data.organ([[(0.0, 2.0, 69)], [(2.0, 2.0, 57)]], tempo=120.0, sample_rate=rate)
    assert x.shape == (1, round(2.08 * rate))
    assert x.abs().max() == pytest.approx(0.8, abs=1e-6)
    for begin, hertz in ((0.1, 440), (1.1, 220)):
        part = x[0, int(begin * rate) : int((begin + 0.8) * rate)]
        power = torch.fft.rfft(part * torch.hann_window(len(part))).abs()
        assert power.argmax().item() * rate / len(part) == pytest.approx(hertz, abs=2)
    assert x[0, -8:].abs().max() < 1e-2
    assert not um.data.organ([[], []]).any()
