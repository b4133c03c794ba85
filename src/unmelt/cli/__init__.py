"""The command line: `unmelt recipes | train | sample | infill | tune | eval | ... | lab`.

A user's mistake prints one message and exits with code 2. Ctrl-C exits with code 130 and leaves a run that can be
resumed. With --json, a command prints one JSON object to standard output and nothing else.
"""

import sys
from collections.abc import Callable, Sequence

from unmelt.cli import other_names
from unmelt.cli.arguments import call
from unmelt.cli.average import average
from unmelt.cli.compare import compare
from unmelt.cli.evaluate import curve, evaluate, tune
from unmelt.cli.lab import lab
from unmelt.cli.recipes import recipes
from unmelt.cli.sample import infill, sample
from unmelt.cli.script import run_command
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

  recipes        list the recipes and their settings
  train RECIPE   train a model, or resume an interrupted run
  average RUN    make other averages of a run's weights, after training
  sample RUN     sample a trained model
  infill RUN     fill the gaps in a text
  tune RUN       fit a few-step sampler to a trained model
  eval RUN       score a trained model against held-out data
  curve RUN      plot quality against network evaluations, and sampling paths
  compare RUNS   compare autoregressive and diffusion models of text
  show RUN       show what a run folder holds
  export RUN     write a run in the format of diffusers
  push RUN NAME  upload a run to the Hub
  lab            open the interactive chapters in the browser

unmelt COMMAND --help lists the options of a command."""


def _dispatch(args: Sequence[str]) -> None:
    if not args or args[0] in ("-h", "--help"):
        print(HELP)
        return
    name, rest = args[0], args[1:]
    if name not in COMMANDS:
        meant = other_names.COMMANDS.get(name.lower().lstrip("-"), nearest(name, COMMANDS))
        raise UsageError(f"there is no command {name!r}", f"one of {', '.join(COMMANDS)}", f"unmelt {meant} --help")
    if name == "train":
        train(rest)
    else:
        call(COMMANDS[name], f"unmelt {name}", rest)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: The command and its arguments; None takes those of the process.

    Returns:
        The exit code: 0 for success, 2 for a mistake in what was asked, 130 for Ctrl-C, 143 for SIGTERM.
    """
    args = sys.argv[1:] if args is None else args
    return run_command(lambda: _dispatch(args), json="--json" in args)
