"""Runs that are struck by signals at random moments: `struck` starts one in a process of its own, again and again."""

import multiprocessing
import os
import random
import signal
import time

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["unmelt"])


class Slow:
    """A source that takes its time, so that there is something to interrupt."""

    def __init__(self, source, seconds):
        self.source, self.seconds = source, seconds

    def __getattr__(self, name):
        return getattr(self.source, name)

    def batch(self, step, rows):
        time.sleep(self.seconds)
        return self.source.batch(step, rows)


def begun(out):
    """Changes when a run begins or goes on, which writes its metrics anew."""
    path = out / "metrics.jsonl"
    return path.stat().st_ino if path.exists() else None


def struck(live, out, lives, longest, number=signal.SIGKILL, seed=0, arguments=()):
    """Begin the run and send it a signal after a random time of training, `lives` times.

    Args:
        live: (out, *arguments), trains in a folder to the end. A function of a module.
        out: The run folder.
        lives: How many times it is begun.
        longest: Seconds, the most that it is left to train.
        number: The signal.
        seed: Seed of the moments.
        arguments: Further arguments of `live`.

    Returns:
        The exit code of each process.
    """
    moments, codes = random.Random(seed), []
    for _ in range(lives):
        before = begun(out)
        child = FORK.Process(target=live, args=(out, *arguments))
        child.start()
        while child.is_alive() and begun(out) == before:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, longest))
        if child.is_alive():
            os.kill(child.pid, number)
        child.join(60)
        codes.append(child.exitcode)
    return codes


def to_the_end(live, out, arguments=()):
    """Run it in a process of its own until it is done."""
    child = FORK.Process(target=live, args=(out, *arguments))
    child.start()
    child.join(120)
    assert child.exitcode == 0
