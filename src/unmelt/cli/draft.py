"""`unmelt draft RUN`: text in fewer passes, with what was proposed, accepted and cut as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from unmelt.cli.output import print_json
from unmelt.cli.runs import RunFolder
from unmelt.errors import UsageError
from unmelt.terminal import notify, printable

if TYPE_CHECKING:
    from unmelt.drafting import Drafter, HiddenDrafter, Pass, Verifier
    from unmelt.drafting.pass_text import PassText

Kind = Literal["own", "lookup", "network", "lookup-first", "none"]
"""Who drafts."""

BLOCK = 8
"""Tokens of a block that is looked up."""

ACCEPTED, REJECTED = "green", "red strike"
"""Styles of drafted text in a terminal."""


class Writer(NamedTuple):
    """A language model and what reads and writes its text.

    Args:
        verifier: The model.
        encode: Makes tokens of text.
        decode: Makes text of tokens.
        end_token: Its end-of-text token; None for none.
        network: The drafter that was trained for it; None for none.
    """

    verifier: Verifier
    encode: Callable[[str], Sequence[int]]
    decode: Callable[[list[int]], str]
    end_token: int | None
    network: HiddenDrafter | None


def draft(
    folder: RunFolder,
    /,
    prompt: str = "",
    tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    drafter: Kind = "own",
    block: int | None = None,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Write text with a drafter. Its law is the language model's, whoever drafts.

    In a terminal, accepted drafts are green and rejected ones struck out in red; the model's own tokens are plain.
    In a file or a pipe there is the text alone. A summary follows on standard error.

    Args:
        folder: The run folder of a drafter; or a language model to look up for: a folder of transformers, a .gguf file,
            or the run folder of an autoregressive model.
        prompt: The text that it begins with.
        tokens: Tokens to write.
        temperature: Sampling temperature; 1 is the model's own distribution, 0 is greedy.
        top_p: Nucleus sampling: sample from the most probable tokens of this total probability.
        drafter: Who drafts: lookup of what followed before, the trained network, lookup-first (the network where lookup
            finds nothing), or none; own is lookup-first for a drafter's run, else lookup.
        block: Tokens that are drafted for a pass. Default: the network's, or 8.
        seed: Seed of the text.
        device: Where to compute: auto, cpu or cuda.
        json: Print one JSON object and nothing else.

    Raises:
        UsageError: If there is no such model, the prompt does not fit it, or an option is out of range.
    """
    from unmelt.drafting import Speculative, passes
    from unmelt.drafting.pass_text import pass_texts

    if tokens < 1:
        raise UsageError(f"--tokens {tokens}", "at least 1 token to write", "--tokens 64")
    writer = _writer(folder, device)
    if block is None:
        block = BLOCK if writer.network is None or drafter == "lookup" else writer.network.block
    chosen = _drafter(folder, writer, drafter, block, temperature)
    how = Speculative(chosen, block, temperature, top_p, writer.end_token)
    start, found = list(writer.encode(prompt)), list["Pass"]()
    least, most = writer.verifier.shortest_prompt, writer.verifier.length - 1
    if not least <= len(start) <= most:
        given = f"a prompt of {len(start)} tokens for {folder}"
        raise UsageError(given, f"{least} to {most} tokens", "--prompt 'The sea'")
    steps = passes(how, writer.verifier, start, tokens, [seed])

    def kept() -> Any:
        for each in steps:
            found.append(each)
            yield each

    show = (lambda each: None) if json else _shown(prompt)
    text = prompt
    for each in pass_texts(writer.decode, start, kept()):
        text += each.accepted + each.own
        show(each)
    scores = _summary(found)
    if json:
        print_json({"text": text, **scores})
        return
    print(flush=True)
    notify(
        f"{scores['tokens_a_pass']:.2f} tokens a pass: {scores['tokens']} tokens in {scores['passes']} passes,"
        f" {scores['drafts']} drafts, {scores['accepted']} of {scores['drafted']} drafted tokens accepted"
    )


def _summary(found: Sequence[Pass]) -> dict[str, Any]:
    tokens = sum(len(each.written) for each in found)
    return {
        "tokens_a_pass": tokens / len(found),
        "tokens": tokens,
        "passes": len(found),
        "drafts": sum(bool(each.drafted) for each in found),
        "drafted": sum(len(each.drafted) for each in found),
        "accepted": sum(each.accepted for each in found),
    }


def _shown(prompt: str) -> Callable[[PassText], None]:
    """Print each pass as it comes: to a terminal with what was cut, else the text alone."""
    import sys

    from rich.text import Text

    from unmelt.cli.table import console

    def plain(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    if not sys.stdout.isatty():
        plain(prompt)
        return lambda each: plain(each.accepted + each.own)
    screen = console()

    def styled(text: str, style: str = "") -> None:
        if text:
            screen.print(Text(printable(text, keep="\n\t"), style), end="", soft_wrap=True)

    def show(each: PassText) -> None:
        styled(each.accepted, ACCEPTED)
        styled(each.rejected.replace("\n", "\u23ce"), REJECTED)
        styled(each.own)

    styled(prompt, "bold")
    return show


def _writer(folder: Path, device: str) -> Writer:
    """The language model in a folder or file."""
    from unmelt.device import device_named
    from unmelt.drafting import AutoregressiveVerifier, TransformersVerifier

    on = device_named(device)
    if folder.suffix == ".gguf" or _is_language_model(folder):
        read = TransformersVerifier.load(folder)
        read.model.to(on)
        return _of_transformers(read, None)
    from unmelt.denoiser import Autoregressive
    from unmelt.model import DrafterModel, TextModel, load

    model = load(folder, device)
    if isinstance(model, DrafterModel):
        network = model.drafter
        return _of_transformers(network.verifier, network)
    if not isinstance(model, TextModel) or not isinstance(model.denoiser, Autoregressive):
        raise UsageError(
            f"{folder}, which is neither a drafter nor a causal language model",
            "a drafter's run, an autoregressive run, or a language model on the disk",
            "unmelt train drafter --verifier models/mine --text books --out runs/drafter",
        )
    own, tokenizer = AutoregressiveVerifier(model.denoiser), model.tokenizer
    return Writer(own, tokenizer.encode, tokenizer.decode, tokenizer.special("end"), None)


def _is_language_model(folder: Path) -> bool:
    """Whether there is a model of transformers or a .gguf file in a folder, and not a run."""
    import json

    from unmelt import run_folder

    if not folder.is_dir():
        return False
    if not (folder / run_folder.CONFIG).is_file():
        return any(folder.glob("*.gguf"))
    try:
        return "architectures" in json.loads((folder / run_folder.CONFIG).read_bytes())
    except (ValueError, RecursionError) as error:
        given = f"{folder / run_folder.CONFIG} is damaged ({error})"
        raise UsageError(given, "the file as it was saved", "a copy of it") from None


def _of_transformers(verifier: Any, network: HiddenDrafter | None) -> Writer:
    tokenizer = verifier.tokenizer

    def decode(tokens: list[int]) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=True))

    return Writer(verifier, tokenizer.encode, decode, tokenizer.eos_token_id, network)


def _drafter(folder: Path, writer: Writer, kind: Kind, block: int, temperature: float) -> Drafter | None:
    """Who drafts."""
    from dataclasses import replace

    from unmelt.drafting import LookupFirst, NGram

    if kind == "own":
        kind = "lookup" if writer.network is None else "lookup-first"
    if kind in ("lookup", "none"):
        return NGram() if kind == "lookup" else None
    if writer.network is None:
        raise UsageError(
            f"--drafter {kind} for {folder}, a language model without a trained drafter",
            "the run folder of a drafter, or lookup",
            "--drafter lookup",
        )
    network = replace(writer.network, temperature=temperature)
    if kind == "lookup-first":
        return LookupFirst(NGram(shortest=2), network, network.block)
    if block > network.block:
        given = f"--block {block} for the network of {folder}"
        raise UsageError(given, f"at most {network.block} tokens", f"--block {network.block}")
    return network
