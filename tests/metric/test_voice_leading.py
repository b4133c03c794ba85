"""Broken rules, as music21 finds them between two spelled notes of two voices, and on phrases counted by hand."""

import random

import pytest
import torch

import unmelt as um


def broken(*voices):
    """Breaks in voices of one note a moment, 0 for a rest."""
    pitches = torch.tensor(voices).T
    return um.metric.rule_breaks(pitches, (pitches > 0).long())


def test_parallels_are_those_of_music21():
    pytest.importorskip("music21")
    from music21 import interval, note, pitch, voiceLeading

    chance, checked = random.Random(0), [0, 0, 0]
    moves = ["m2", "M2", "m3", "P4", "-m2", "-M2", "-m3", "-P4", "P1"]
    gaps = ["P1", "P5", "P8", "P12", "P15", "M3", "m3", "P4", "M6"]
    for _ in range(600):
        low = pitch.Pitch(chance.choice(["C3", "D3", "E3", "F3", "G3", "A3"]))
        lows = (low, low.transpose(chance.choice(moves)))
        names = [chance.choice(gaps) for _ in lows]
        highs = [each.transpose(name) for each, name in zip(lows, names, strict=True)]
        spelled = [interval.Interval(a, b).name for a, b in zip(lows, highs, strict=True)]
        if spelled != names:  # music21 respells what has two accidentals
            continue
        quartet = voiceLeading.VoiceLeadingQuartet(*map(note.Note, (*highs, *lows)))
        octave = any(quartet.parallelMotion(name, allowOctaveDisplacement=True) for name in ("P1", "P8"))
        wanted = (int(quartet.parallelMotion("P5", allowOctaveDisplacement=True)), int(octave))
        found = broken([each.midi for each in highs], [each.midi for each in lows])
        assert (found.fifths, found.octaves) == wanted, (spelled, highs, lows)
        checked = [checked[0] + 1, checked[1] + wanted[0], checked[2] + wanted[1]]
    assert checked[0] > 300
    assert min(checked[1:]) > 8


@pytest.mark.parametrize(
    ("voices", "wanted"),
    [
        (([67, 69], [60, 62]), (1, 0, 0, 0)),  # a fifth to a fifth
        (([67, 67], [60, 60]), (0, 0, 0, 0)),  # which stays
        (([67, 65], [60, 70]), (0, 0, 1, 0)),  # in contrary motion, and crossed
        (([67, 0, 69], [60, 0, 62]), (0, 0, 0, 0)),  # with a rest between
        (([72, 74], [60, 62]), (0, 1, 0, 0)),
        (([60, 62], [60, 62]), (0, 1, 0, 0)),
        (([60, 74], [60, 62]), (0, 0, 0, 0)),  # a unison to an octave
        (([59, 82], [55, 53]), (0, 0, 0, 2)),
        (([72, 72], [67, 67], [60, 70], [48, 48]), (0, 0, 1, 1)),
    ],
)
def test_breaks_counted_by_hand(voices, wanted):
    found = broken(*voices)
    assert (found.fifths, found.octaves, found.crossings, found.ranges) == wanted
    assert found.total == sum(wanted)
    assert found.per_hundred == 100 * sum(wanted) / found.notes


def test_a_note_that_goes_on_is_counted_once():
    pitches = torch.tensor([[60, 62], [60, 62], [60, 62]])
    begins = torch.tensor([[1, 1], [0, 0], [0, 0]])
    assert um.metric.rule_breaks(pitches, begins) == um.metric.RuleBreaks(0, 0, 1, 0, 2)
