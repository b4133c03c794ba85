"""Samples and scores computed by several processes equal those of one process, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from together import ROWS, TEXTS, together

import unmelt as um


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    um.recipe.two_modes(steps=20, batch=16).fit(folder / "points", device="cpu", quiet=True)
    book = folder / "book.txt"
    book.write_text("the sea goes out and the sea comes in\n" * 200, encoding="utf-8")
    small = {"vocabulary": 300, "length": 16, "width": 16, "depth": 1, "heads": 2}
    um.recipe.text(folder=book, steps=5, batch=4, **small).fit(folder / "text", device="cpu", quiet=True)
    return folder


def test_two_processes_give_the_same_samples_and_scores_as_one(runs, tmp_path):
    alone, both = tmp_path / "alone", tmp_path / "both"
    scores = []
    for folder in (alone, both):
        folder.mkdir()
        if folder == alone:
            together(runs / "points", runs / "text", folder)
        else:
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
            script = str(Path(__file__).with_name("together.py"))
            done = subprocess.run(
                [*torchrun, script, str(runs / "points"), str(runs / "text"), str(folder)],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                timeout=240,
            )
            assert done.returncode == 0, done.stderr[-3000:]
        scores.append(
            [json.loads((runs / kind / "eval.json").read_text(encoding="utf-8")) for kind in ("points", "text")]
        )

    wanted, told = np.load(alone / "0.npz"), json.loads((alone / "0.json").read_text(encoding="utf-8"))
    assert len(wanted["arr_0"]) == ROWS
    assert wanted["arr_1"].tolist() == wanted["arr_2"].tolist() == [0, 1, 2, 3, 4]
    assert len(told["texts"]) == TEXTS
    assert told["calls"] == [512, 512, 176]
    for rank, calls in ((0, [512, 176]), (1, [512])):  # each did its share, and has all
        found, said = np.load(both / f"{rank}.npz"), json.loads((both / f"{rank}.json").read_text(encoding="utf-8"))
        assert all(np.array_equal(wanted[name], found[name]) for name in wanted)
        assert said == {**told, "calls": calls}
    assert np.array_equal(np.load(alone / "cli.npy"), np.load(both / "cli.npy"))
    assert len(np.load(both / "cli.npy")) == 1030
    assert scores[0] == scores[1]
    assert scores[0][0]["samples"] == 1100
