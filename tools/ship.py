"""Put a trained model into the package: bfloat16 weights, its scores with those weights, a picture and a card.

    python tools/ship.py runs/digits digits --license apache-2.0

It is then loaded by name after installation: `um.load("digits")`. The scores are measured again, since the weights are
rounded. The run must be of a recipe whose data are at hand.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import unmelt as um
from unmelt import recorded_scores, run_folder
from unmelt.shipped import PLACE

LARGEST = 12_000_000
"""Bytes that a model may have."""


def main(run: Path, name: str, license: str, samples: int | None) -> None:
    """Round, judge, write."""
    with tempfile.TemporaryDirectory() as temporary:
        rounded = Path(temporary) / name
        um.load(run, "cpu").save_pretrained(rounded, license=license, name=name, dtype="bfloat16")
        shutil.copyfile(run / run_folder.METRICS, rounded / run_folder.METRICS)
        model = um.recipe.with_data(rounded)
        scores = model.evaluate(**({} if samples is None else {"samples": samples}))
        recorded_scores.record(rounded, {}, scores)
        model.save_preview(rounded / "samples")
        made = PLACE / name
        shutil.rmtree(made, ignore_errors=True)
        model.save_pretrained(made, license=license, name=name, dtype="bfloat16")
    size = sum(path.stat().st_size for path in made.iterdir())
    print(f"{made}: {size:,} bytes, {scores}")
    if size > LARGEST:
        raise SystemExit(f"{size:,} bytes are more than {LARGEST:,}: train a smaller model")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument("name", help="the name to load it by")
    parser.add_argument("--license", required=True, help="license of the weights, by its short name")
    parser.add_argument("--samples", type=int, help="how many to judge by")
    main(**vars(parser.parse_args()))
