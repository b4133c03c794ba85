"""What must work where unmelt is installed without extras; `try_packages.py` runs this in an empty environment."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
import time
from pathlib import Path

FOREIGN = ("diffusers", "transformers", "huggingface_hub", "sklearn", "tokenizers", "fastapi", "marimo", "pyarrow")
"""Packages of extras, none of which may be there."""

EXTRAS = {
    "serve emoji": "unmelt[serve]",
    "serve emoji --ray": "unmelt[ray]",
    "play ring": "unmelt[serve]",
    "lab --no-browser": "unmelt[lab]",
    "train digits --out runs/digits": "unmelt[digits]",
    "train text --folder books --out runs/books": "unmelt[text]",
    "train images --folder table.parquet --out runs/table": "unmelt[data]",
    "train speech --folder sounds --out runs/speech": "unmelt[sound]",
    "train ring --out runs/ring --log-to tensorboard": "pip install tensorboard",
    "export digits --to diffusers --out here": "unmelt[diffusers]",
    "export digits --to onnx --out here": "unmelt[onnx]",
    "push digits owner/digits": "unmelt[hub]",
    "draft language --prompt x": "unmelt[transformers]",
    "draft language.gguf --prompt x": "unmelt[transformers]",
}
"""Command lines that need more than there is, and what they must say."""

SECONDS = 30.0
"""Time of one processor that a first picture may take, imports included: 15 s on two."""


def run(line: str) -> tuple[int, str]:
    """Run a command of unmelt in this process.

    Args:
        line: The command line after `unmelt`.

    Returns:
        Its exit code, and all that it said.
    """
    from unmelt.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(line.split())
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, " ".join(said.getvalue().split())


def files() -> None:
    """Files that some commands are given."""
    Path("books").mkdir()
    Path("books/a.txt").write_text("The sea was wide.\n" * 200, encoding="utf-8")
    Path("table.parquet").write_bytes(b"PAR1" + bytes(40) + b"PAR1")
    Path("sounds").mkdir()
    Path("sounds/a.flac").write_bytes(b"fLaC" + bytes(40))
    Path("sounds/a.txt").write_text("the sea", encoding="utf-8")
    Path("language").mkdir()
    Path("language/config.json").write_text('{"architectures": ["LlamaForCausalLM"]}', encoding="utf-8")
    Path("language.gguf").write_bytes(b"GGUF" + bytes(40))


def main() -> int:
    """Check all of it.

    Returns:
        How much is not as it must be.
    """
    faults = [f"{name} is installed" for name in FOREIGN if importlib.util.find_spec(name)]

    lines = (
        'import unmelt as um; x = um.load("emoji").sample(1, prompt="a red star"); um.picture.tiles(x, path="a.png")'
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", lines], check=True)
    used = os.times().children_user + os.times().children_system
    print(f"a picture in {time.perf_counter() - began:.1f} s, {used:.1f} s of one processor")
    if used > SECONDS:
        faults.append("a picture takes too long")
    if not Path("a.png").is_file():
        faults.append("no picture")

    from unmelt.cli import COMMANDS
    from unmelt.recipe import RECIPES

    helps = ["--help", *(f"{name} --help" for name in COMMANDS), *(f"train {name} --help" for name in RECIPES)]
    for line in [*helps, "adapter train --help", "adapter merge --help"]:
        code, said = run(line)
        if code or "usage: unmelt" not in said:
            faults.append(f"unmelt {line}: {code} {said}")
    print(f"{len(helps) + 2} helps")

    files()
    for line, extra in EXTRAS.items():
        code, said = run(line)
        if code != 2 or extra not in said:
            faults.append(f"unmelt {line}: {code}, without {extra}: {said[:300]}")
    print(f"{len(EXTRAS)} commands that need an extra")
    print(*faults, sep="\n")
    return len(faults)


if __name__ == "__main__":
    sys.exit(main())
