"""The command line: `unmelt recipes | train | sample | infill | tune | eval | ... | lab`.

A mistake gets one message and exit code 2; Ctrl-C gets 130 and leaves a run that resumes. With --json, one JSON object
and nothing else goes to standard output.
"""

import re
import sys
from collections.abc import Callable, Sequence

import tyro

from unmelt.cli.average import average
from unmelt.cli.compare import compare
from unmelt.cli.evaluate import curve, evaluate, tune
from unmelt.cli.lab import lab
from unmelt.cli.output import notify
from unmelt.cli.recipes import recipes
from unmelt.cli.sample import infill, sample
from unmelt.cli.share import export, push
from unmelt.cli.show import show
from unmelt.cli.train import train
from unmelt.errors import UsageError, nearest

COMMANDS: dict[str, Callable[..., None]] = {
    "recipes": recipes,
    "train": train,
    "average": average,
    "sample": sample,
    "infill": infill,
    "tune": tune,
    "eval": evaluate,
    "curve": curve,
    "compare": compare,
    "show": show,
    "export": export,
    "push": push,
    "lab": lab,
}

HELP = """usage: unmelt COMMAND

  recipes        what can be trained, and every setting
  train RECIPE   train it; goes on where it was interrupted
  average RUN    other averages of its weights, after training
  sample RUN     make new data with a trained model
  infill RUN     fill the gaps of a text
  tune RUN       learn to sample it in few steps
  eval RUN       judge samples against held-out data
  curve RUN      quality against evaluations, and paths, as pictures
  compare RUNS    autoregression and diffusion of text, side by side
  show RUN       what a run folder holds
  export RUN     write it as diffusers loads it
  push RUN NAME  put it onto the Hub
  lab            every idea as a page to touch, in the browser

unmelt COMMAND --help says more."""


def _dispatch(args: Sequence[str]) -> None:
    if not args or args[0] in ("-h", "--help"):
        print(HELP)
        return
    name, rest = args[0], args[1:]
    if name not in COMMANDS:
        raise UsageError(
            f"there is no command {name!r}", f"one of {', '.join(COMMANDS)}", f"unmelt {nearest(name, COMMANDS)} --help"
        )
    if name == "train":
        train(rest)
    else:
        tyro.cli(COMMANDS[name], prog=f"unmelt {name}", args=list(rest))


def _as_option(instead: str) -> str:
    """A setting written as in Python, as it is written here: lr=0.001, or UNet(..., lr=0.001), is --lr 0.001."""
    alone = re.fullmatch(r"\w+\(\.\.\., ([^,]+)\)", instead)
    setting = re.fullmatch(r"(\w+)=(\S+|'.*')", alone[1] if alone else instead)
    return f"--{setting[1].replace('_', '-')} {setting[2]}" if setting else instead


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        _dispatch(sys.argv[1:] if args is None else args)
    except UsageError as mistake:
        notify(f"unmelt: {mistake.given}\n  needed: {mistake.needed}")
        if mistake.instead:
            notify(f"  try:    {_as_option(mistake.instead)}")
        return 2
    except OSError as error:
        notify(f"unmelt: {error}")
        return 2
    except KeyboardInterrupt as interrupt:
        notify("; ".join(["unmelt: interrupted", *map(str, interrupt.args)]))
        return 130
    return 0
