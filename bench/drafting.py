"""Prompt lookup on source code: drafted tokens accepted, passes and seconds a token, beside plain cached decoding.

    python bench/drafting.py --verifier SmolLM2-135M-Instruct.Q4_1.gguf --save

The verifier goes on with files of Python's standard library. Plain decoding and prompt lookup write the same number of
tokens after the same prompt, in turns, in one process; at temperature 0 so does the `generate` of transformers, and all
write the same text, unless two logits are equal but for rounding. At temperature 1 the law is the same and the
texts are not; what prompt lookup accepts is then a matter of chance, and of how much of itself a text repeats.
"""

import argparse
import importlib
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import timing
import torch

from unmelt.drafting import Decoded, NGram, TransformersVerifier, decode

COLUMNS = [
    ("library", "written by", ""),
    ("temperature", "temperature", ".0f"),
    ("accepted", "accepted a pass", ".2f"),
    ("drafted", "drafted a pass", ".2f"),
    ("passes", "passes a token", ".3f"),
    ("seconds", "seconds a token", ".3f"),
    ("faster", "times faster than plain", ".2f"),
    ("less", "times less processor time", ".2f"),
    ("low", "least", ".2f"),
    ("high", "most", ".2f"),
    ("same", "texts as plain", "d"),
]

WAYS = ("plain", "prompt lookup", "prompt lookup, 2 tokens at least", "generate of transformers")

MODULES = ("argparse", "heapq", "json.decoder", "textwrap", "statistics")


class Written(NamedTuple):
    """Tokens of one prompt, counts, and the seconds it took: those of the clock, and those of the processor."""

    decoded: Decoded
    seconds: float
    work: float


def timed(write: Callable[[], Decoded]) -> Written:
    start, work = time.perf_counter(), time.process_time()
    decoded = write()
    return Written(decoded, time.perf_counter() - start, time.process_time() - work)


def by_transformers(verifier: TransformersVerifier, prompt: list[int], tokens: int, temperature: float) -> Decoded:
    torch.manual_seed(0)
    how = {"temperature": temperature, "do_sample": True, "top_k": 0, "top_p": 1.0} if temperature else {}
    how = {"do_sample": False, "max_new_tokens": tokens, "min_new_tokens": tokens, "eos_token_id": None, **how}
    x = torch.tensor([prompt])
    out = verifier.model.generate(x, attention_mask=torch.ones_like(x), pad_token_id=0, **how)
    return Decoded([out[0, len(prompt) :].tolist()], [tokens], [0], [0])


def row(name: str, temperature: float, written: list[Written], plain: list[Written]) -> dict[str, object]:
    """One row of the table, over the prompts."""
    passes, tokens = (
        sum(each) for each in zip(*((w.decoded.passes[0], len(w.decoded.tokens[0])) for w in written), strict=True)
    )
    faster = [a.seconds / b.seconds for a, b in zip(plain, written, strict=True)]
    less = [a.work / b.work for a, b in zip(plain, written, strict=True)]
    return {
        "library": name,
        "temperature": temperature,
        "accepted": sum(w.decoded.accepted[0] for w in written) / passes,
        "drafted": sum(w.decoded.drafted[0] for w in written) / passes,
        "passes": passes / tokens,
        "seconds": sum(w.seconds for w in written) / tokens,
        "faster": timing.median(faster),
        "less": timing.median(less),
        "low": min(less),
        "high": max(less),
        "same": sum(a.decoded.tokens == b.decoded.tokens for a, b in zip(plain, written, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/drafting.json and .md")
    parser.add_argument("--verifier", type=Path, required=True, help="a folder or a .gguf file of a causal model")
    parser.add_argument("--prompt", type=int, default=192, help="tokens of a prompt")
    parser.add_argument("--skip", type=int, default=512, help="tokens of a file before its prompt")
    parser.add_argument("--tokens", type=int, default=32, help="to write after each prompt")
    parser.add_argument("--block", type=int, default=8, help="tokens of a draft, at most")
    options, start = parser.parse_args(), time.perf_counter()
    verifier = TransformersVerifier.load(options.verifier)
    title = f"Prompt lookup, {len(MODULES)} prompts of {options.prompt} tokens of Python, {options.tokens} written"
    report = timing.Report("drafting", title, COLUMNS)
    prompts = []
    for name in MODULES:
        found = verifier.tokenizer.encode(inspect.getsource(importlib.import_module(name)), add_special_tokens=False)
        prompts.append(list(found[options.skip : options.skip + options.prompt]))
    for temperature in (0.0, 1.0):

        def write(prompt: list[int], drafter: NGram | None, temperature: float = temperature) -> Decoded:
            how = {"drafter": drafter, "block": options.block, "temperature": temperature, "seed": 0}
            return decode(verifier, [prompt], options.tokens, **how)

        written: dict[str, list[Written]] = {name: [] for name in WAYS}
        write(prompts[0][:32], NGram())
        for number, prompt in enumerate(prompts):
            ways: dict[str, Callable[[], Decoded]] = {
                "plain": lambda prompt=prompt: write(prompt, None),
                "prompt lookup": lambda prompt=prompt: write(prompt, NGram()),
                "prompt lookup, 2 tokens at least": lambda prompt=prompt: write(prompt, NGram(shortest=2)),
                "generate of transformers": lambda prompt=prompt, temperature=temperature: by_transformers(
                    verifier, prompt, options.tokens, temperature
                ),
            }
            names = (
                WAYS[:-1] if temperature else WAYS
            )  # at temperature 1 the two plain ways differ by their noise alone
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:  # each is first and last in turn
                written[name].append(timed(ways[name]))
        report.rows += [row(name, temperature, each, written["plain"]) for name, each in written.items() if each]
    report.notes.append("Seconds include reading the prompt. Least and most are processor time of one prompt.")
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
