"""Names that other tools, and earlier versions, have for the commands and options here.

A person who types one of them is told the name that is used here.
"""

from collections.abc import Collection

from unmelt.arguments.names import SAME, rename

COMMANDS = {
    "ledger": "compare",
    "generate": "sample",
    "inference": "sample",
    "evaluate": "eval",
    "test": "eval",
    "fit": "train",
    "finetune": "train",
    "resume": "train",
    "tts": "say",
    "speak": "say",
    "synthesize": "say",
    "upload": "push",
    "convert": "export",
    "info": "show",
    "inspect": "show",
    "status": "show",
    "list": "recipes",
    "ls": "recipes",
    "notebook": "lab",
    "ui": "lab",
    "inpaint": "edit",
    "outpaint": "edit",
    "variations": "edit",
    "img2img": "edit",
    "ema": "average",
}
"""Commands by the names that people look for them under."""

OPTIONS = SAME | {
    # earlier versions
    "watch": "log_to live",
    "nats": "entropy_budget",
    "apart": "min_distance",
    "free bidirectional_fraction": "bidirectional_row_fraction",
    "middle": "fim_rate",
    "length": "ema_std",
    "recompute": "activation_checkpointing",
    "accumulate": "gradient_accumulation",
    "aside": "held_out",
    # letters
    "b": "batch rows",
    "d": "device",
    "i": "folder",
    "j": "json",
    "m": "message",
    "o": "out",
    "p": "port prompt",
    "s": "seed steps",
    # what Python has no such argument for
    "batch": "rows batches",
    "epochs num_epochs num_train_epochs max_epochs": "steps",
    "cuda gpu cpu": "device",
    "format": "to",
    "commit_message": "message",
    "address ip": "host",
    "force overwrite": "again",
}
"""Options by other names, as `SAME` has them: the first of the names here that the command has is meant."""

EPOCHS = ("epochs", "num-epochs", "num-train-epochs", "max-epochs")
"""Names of options that count passes over the data."""


def option_named(word: str, known: Collection[str]) -> str | None:
    """The option that another tool's name stands for.

    Args:
        word: The name that was given, without hyphens in front.
        known: The options that the command has.

    Returns:
        The first option that is meant and that the command has; None if there is none.
    """
    here = {name.replace("-", "_"): name for name in known}
    return here.get(rename(word.lower().replace("-", "_"), list(here), OPTIONS) or "")
