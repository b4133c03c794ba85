"""Autoregression and masked diffusion side by side: two small models of Python, judged by the first of them.

python examples/compare_text.py [--tokens 64] [--out runs/compared]
"""

import sys
from pathlib import Path

import unmelt as um
from unmelt.cli.script import run_script
from unmelt.shipped import PLACE


def main(tokens: int = 64, rows: int = 16, held_out: int = 64, out: Path = Path("runs/compared")) -> um.compare.Report:
    """Measure both, and draw quality and speed against passes.

    Args:
        tokens: Tokens of each text.
        rows: Texts of each kind.
        held_out: Held-out rows by which likelihood is measured.
        out: Folder of the pictures.
    """
    runs = {name: um.recipe.with_data(PLACE / "lab" / name, allow_other_data=True) for name in ("code_ar", "code")}
    steps = tuple(2**k for k in range(3, 8) if 2**k <= tokens) or (tokens,)
    found = um.compare.compare(
        runs, tokens=tokens, steps=steps, rows=rows, questions=rows, batches=(1,), held_out_rows=held_out, out=out
    )
    for name, modes in found.quality.items():
        for mode, quality in modes.items():
            passes = found.speed[name][mode][0].passes if name != "real" else 0
            print(f"{name:8} {mode:48} {passes:5.1f} passes, {quality.judge:.2f} nats a token by the judge")
    print(f"drawn in {out}/quality.png and {out}/speed.png")
    return found


if __name__ == "__main__":
    sys.exit(run_script(main))
