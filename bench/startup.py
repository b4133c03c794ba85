"""How long unmelt takes to start: imports beside `import torch`, and commands of the command line.

Every contestant is a fresh interpreter. All of them run in turns, and each time is compared with that of `import torch`
in the same round. A model of two points is trained for a few steps, to be sampled by `unmelt sample RUN`.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import timing

import unmelt as um

IMPORT_TARGET, COMMAND_TARGET = 1.15, 0.4
"""Times `import torch`; seconds."""

IMPORTS = {
    "import torch": "import torch",
    "import unmelt": "import unmelt",
    "um.sampler.DPMpp": "import unmelt as um; um.sampler.DPMpp",
    "um.Model": "import unmelt as um; um.Model",
}
COMMANDS = {"unmelt --help": ["--help"], "unmelt sampel": ["sampel"], "unmelt train nope": ["train", "nope"]}


def seconds(*args: str) -> Callable[[], float]:
    """Run Python with these arguments, and return the seconds until it has ended."""

    def run() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *args], capture_output=True, check=False)
        return time.perf_counter() - start

    return run


def main() -> None:
    options = timing.arguments(__doc__, rounds=10)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        um.recipe.two_modes(steps=5).fit(run, device="cpu", quiet=True, log_to="none")
        commands = COMMANDS | {"unmelt sample RUN": ["sample", str(run), "--device", "cpu"]}
        contestants = {name: seconds("-c", code) for name, code in IMPORTS.items()}
        contestants |= {name: seconds("-m", "unmelt.cli", *args) for name, args in commands.items()}
        times = timing.interleave(contestants, options.rounds, warmup=1)
    report = timing.Report(
        "startup",
        "Seconds until a fresh interpreter has done it",
        [
            ("what", "what", ""),
            ("seconds", "seconds", ".2f"),
            ("low", "lower quartile", ".2f"),
            ("high", "upper quartile", ".2f"),
            ("ratio", "times import torch", ".2f"),
        ],
    )
    for name, taken in times.items():
        low, high = timing.spread(taken)
        ratio = timing.median(timing.ratios(taken, times["import torch"]))
        report.rows.append({"what": name, "seconds": timing.median(taken), "low": low, "high": high, "ratio": ratio})
    row = {each["what"]: each for each in report.rows}
    report.found = {
        "import unmelt, times import torch": row["import unmelt"]["ratio"],
        "import unmelt within target": row["import unmelt"]["ratio"] <= IMPORT_TARGET,
        "unmelt --help (s)": row["unmelt --help"]["seconds"],
        "commands without torch within target": all(row[name]["seconds"] <= COMMAND_TARGET for name in COMMANDS),
    }
    report.notes = [
        f"`import unmelt` takes {row['import unmelt']['ratio']:.2f} times `import torch` (target {IMPORT_TARGET}), "
        f"`unmelt --help` {row['unmelt --help']['seconds']:.2f} s (target {COMMAND_TARGET}, on an idle core)",
        "torch is imported when the first name is used that needs it",
    ]
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
