"""Pieces for four voices made here, so that tests read no corpus."""

import numpy as np

import unmelt as um

LOWER = (-8, -17, -27)


def piece(number):
    """Quarters in which the lower voices follow the soprano at fixed distances; seven melodies in all."""
    return in_parallel(f"{number}", [72 + (k * (number + 1) + k // 3) % 7 for k in range(24)])


def random_pieces(count):
    """The same of random melodies, each another one."""
    draws = np.random.default_rng(0)
    return [in_parallel(f"{number}", draws.integers(68, 80, 24).tolist()) for number in range(count)]


def in_parallel(name, soprano):
    voices = [tuple((float(k), 1.0, pitch + down) for k, pitch in enumerate(soprano)) for down in (0, *LOWER)]
    return um.data.Chorale(name, tuple(voices), tuple(4.0 * k for k in range(6)))
