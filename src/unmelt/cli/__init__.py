"""The command line: `unmelt recipes | train | distill | sample | infill | draft | tune | eval | ... | lab`.

A user's mistake prints one message and exits with code 2. Ctrl-C exits with code 130 and leaves a run that can be
resumed. With --json, a command prints one JSON object to standard output and nothing else.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from unmelt import __version__
from unmelt.cli import other_names
from unmelt.cli.script import run_command
from unmelt.errors import UsageError, nearest

COMMANDS = {
    "recipes": "recipes.recipes",
    "train": "train.train",
    "distill": "distill.distill",
    "average": "average.average",
    "adapter": "adapter.adapter",
    "sample": "sample.sample",
    "infill": "sample.infill",
    "draft": "draft.draft",
    "say": "say.say",
    "edit": "edit.edit",
    "tune": "evaluate.tune",
    "eval": "evaluate.evaluate",
    "curve": "evaluate.curve",
    "compare": "compare.compare",
    "show": "show.show",
    "export": "share.export",
    "push": "share.push",
    "serve": "serve.serve",
    "play": "play.play",
    "lab": "lab.lab",
}
"""Commands, each with the module of this package and the function in it that does the work."""

HELP = """usage: unmelt COMMAND

  recipes        list the recipes and their settings
  train RECIPE   train a model, or resume an interrupted run
  distill RUN    train a student that samples in a few steps
  average RUN    make other averages of a run's weights, after training
  adapter VERB   train a low-rank adapter of a run, or merge one into it
  sample RUN     sample a trained model
  infill RUN     fill the gaps in a text
  draft RUN      write text in fewer passes of a language model
  say RUN TEXT   say a text with a model of speech
  edit RUN IMAGE make a picture anew, part of it, or more around it
  tune RUN       fit a few-step sampler to a trained model
  eval RUN       score a trained model against held-out data
  curve RUN      plot quality against network evaluations, and sampling paths
  compare RUNS   compare autoregressive and diffusion models of text
  show RUN       show what a run folder holds
  export RUN     write a run in the format of diffusers
  push RUN NAME  upload a run to the Hub
  serve RUNS     serve models over HTTP, for clients of OpenAI's API
  play RUN       play in the world that a model has learned, in the browser
  lab            open the interactive chapters in the browser

unmelt COMMAND --help lists the options of a command; unmelt --version prints the version."""


def command(name: str) -> Callable[..., None]:
    """The function of a command. Its module, and with it most of unmelt, is imported now.

    Args:
        name: One of `COMMANDS`.

    Returns:
        The function; those of `train` and `adapter` take the words that follow, all others are called by their
        signature.
    """
    module, _, function = COMMANDS[name].partition(".")
    found: Callable[..., None] = getattr(import_module(f"unmelt.cli.{module}"), function)
    return found


def _dispatch(args: Sequence[str]) -> None:
    if not args or args[0] in ("-h", "--help"):
        print(HELP)
        return
    if args[0] in ("-V", "--version"):
        print(f"unmelt {__version__}")
        return
    name, rest = args[0], args[1:]
    if name not in COMMANDS:
        meant = other_names.COMMANDS.get(name.lower().lstrip("-"), nearest(name, COMMANDS))
        raise UsageError(f"there is no command {name!r}", f"one of {', '.join(COMMANDS)}", f"unmelt {meant} --help")
    if name in ("train", "adapter"):
        command(name)(rest)
    else:
        from unmelt.cli.arguments import call

        call(command(name), f"unmelt {name}", rest)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: The command and its arguments; None takes those of the process.

    Returns:
        The exit code: 0 for success, 2 for a mistake in what was asked, 130 for Ctrl-C, 143 for SIGTERM.
    """
    args = sys.argv[1:] if args is None else args
    return run_command(lambda: _dispatch(args), json="--json" in args)
