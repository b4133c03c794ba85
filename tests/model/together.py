"""One process of tests/model/test_map_chunks.py: `torchrun together.py POINTS TEXT OUT`, two runs and a folder."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

import unmelt as um
from unmelt.cli import main
from unmelt.model.map_chunks import map_chunks
from unmelt.train import distributed

ROWS, TEXTS = 1200, 150
"""More than two chunks, and no whole number of them."""


def together(points, text, out):
    torch.set_num_threads(1)
    made, calls = [], []
    with distributed.process_group(torch.device("cpu")):
        model = um.load(points, "cpu")
        states = model.states
        model.states = lambda request: (calls.append(request.rows), states(request))[1]
        made.append(model.sample(ROWS, seed=3).numpy())
        made.append(map_chunks(5, 1, lambda rows: torch.arange(5)[rows]).numpy())
        made.append(map_chunks(5, 2, lambda rows: torch.arange(5)[rows], independent=False).numpy())
        lm = um.load(text, "cpu")
        texts = lm.sample(TEXTS, steps=4, seed=5)
        told = {
            "texts": texts,
            "calls": calls,
            "first": distributed.broadcast_from_main(lambda: {"rank": distributed.rank()}),
        }
        main(["sample", str(points), "--rows", "1030", "--out", str(out / "cli.npy")])
        main(["eval", str(points), "--samples", "1100"])
        main(["eval", str(text), "--samples", "150"])
        np.savez(out / f"{distributed.rank()}.npz", *made)
        (out / f"{distributed.rank()}.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    together(*map(Path, sys.argv[1:]))
