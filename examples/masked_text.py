"""Text out of masks: a small masked model of Python, which comes with unmelt, writes in any order and fills a gap.

python examples/masked_text.py [--prompt "def "] [--out runs/text.png]
"""

import sys
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script
from unmelt.shipped import PLACE


def main(prompt: str = "def ", steps: int = 16, seed: int = 0, out: Path = Path("runs/text.png")) -> list[str]:
    """Write, fill, draw.

    Args:
        prompt: What the text begins with.
        steps: Network calls.
        seed: Of the text.
        out: The picture to write.
    """
    model = um.load(PLACE / "lab" / "code")
    frames = list(model.trajectory(1, prompt=prompt, steps=steps, seed=seed))
    shown = [frames[round(k * (len(frames) - 1) / 3)] for k in range(4)]
    um.picture.texts([frame.text[0] for frame in shown], [f"t = {float(frame.t):.2f}" for frame in shown], path=out)
    (filled,) = model.infill("import ░░░\n", seed=seed)
    print(frames[-1].text[0])
    print(f"a gap that is filled: {filled!r}")
    print(f"drawn in {out}")
    return [frames[-1].text[0], filled]


if __name__ == "__main__":
    sys.exit(run_script(main))
