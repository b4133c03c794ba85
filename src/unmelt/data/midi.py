"""MIDI files of type 1: a chunk for the tempo, and one for each voice.

    time       ticks since the event before, in groups of seven bits, the last group without its highest bit
    note on    0x90 + channel, pitch, velocity           note off    0x80 + channel, pitch, 0
    tempo      0xFF 0x51 3, microseconds of a quarter    end         0xFF 0x2F 0

(MIDI Manufacturers Association, 1996, "The Complete MIDI 1.0 Detailed Specification".)
"""

import struct
from collections.abc import Sequence

TICKS = 480
"""Ticks of a quarter."""

CHOIR, VELOCITY = 19, 80
"""Program of General MIDI (a church organ), and how hard notes are struck."""


def midi_bytes(voices: Sequence[Sequence[tuple[float, float, int]]], tempo: float = 80.0) -> bytes:
    """Write voices as a MIDI file.

    Args:
        voices: The notes of each voice, at most 9: (begin, length) in quarters, MIDI pitch; one at a time.
        tempo: Quarters in a minute.

    Returns:
        All bytes of the file.
    """
    chunks = [b"\x00\xff\x51\x03" + round(60e6 / tempo).to_bytes(3, "big")]
    for channel, notes in enumerate(voices):
        events = [(round(TICKS * begin), 1, bytes((0x90 + channel, pitch, VELOCITY))) for begin, _, pitch in notes]
        events += [
            (round(TICKS * (begin + length)), 0, bytes((0x80 + channel, pitch, 0))) for begin, length, pitch in notes
        ]
        now, chunk = 0, b"\x00" + bytes((0xC0 + channel, CHOIR))
        for time, _, event in sorted(events):  # a note ends before the next one begins
            chunk += _number(time - now) + event
            now = time
        chunks.append(chunk)
    header = b"MThd" + struct.pack(">IHHH", 6, 1, len(chunks), TICKS)
    whole = [each + b"\x00\xff\x2f\x00" for each in chunks]
    return header + b"".join(b"MTrk" + struct.pack(">I", len(each)) + each for each in whole)


def _number(value: int) -> bytes:
    """A number in groups of seven bits."""
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127 | 128)
    return bytes(reversed(groups))
