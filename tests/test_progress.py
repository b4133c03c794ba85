"""Long work says early how long it takes, then how far it is; short work says nothing."""

import pytest

from unmelt import progress
from unmelt.progress import Progress, duration


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_an_estimate_comes_after_the_first_part_and_then_every_half_minute(clock, capsys):
    work = Progress("samples", 20_000)
    for _ in range(100):
        clock[0] += 1.8
        work.advance(200)
    assert capsys.readouterr().err.splitlines() == [
        "samples: 20,000, about 3 minutes",
        "samples: 3,600 of 20,000, about 2 minutes left",
        "samples: 7,000 of 20,000, about 2 minutes left",
        "samples: 10,400 of 20,000, about 86 seconds left",
        "samples: 13,800 of 20,000, about 56 seconds left",
        "samples: 17,200 of 20,000, about 25 seconds left",
    ]


def test_short_and_quiet_work_says_nothing(clock, capsys):
    for work, seconds in ((Progress("samples", 10), 0.5), (Progress("samples", 10, quiet=True), 100.0)):
        for _ in range(10):
            clock[0] += seconds
            work.advance()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.1, "1 seconds"), (40.0, "40 seconds"), (95.0, "2 minutes"), (5000.0, "83 minutes"), (9000.0, "2.5 hours")],
)
def test_a_time_is_said_in_the_unit_that_suits_it(seconds, said):
    assert duration(seconds) == said
