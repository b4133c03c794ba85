"""Drafted decoding of a language model: tokens a pass and tokens a second, beside plain cached decoding.

    unmelt train drafter --verifier SmolLM2-135M-Instruct.Q4_1.gguf --text my/code --own-text 500 --out runs/drafter
    python bench/drafting.py --verifier SmolLM2-135M-Instruct.Q4_1.gguf --drafter runs/drafter --save

The verifier goes on with code, prose and questions (see `drafting_prompts`) at temperature 0. All ways write as many
tokens after the same prompt, in turns, in one process, and the same text, unless two logits are equal but for rounding:
that is counted. Prompts whose plain text repeats itself, or its prompt, stand apart, as copies flatter looking up.
Without `--drafter` there are the ways that need none. `--batches` writes several prompts at once.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import drafting_prompts
import timing
import torch

import unmelt as um
from unmelt.drafting import Decoded, Drafter, LookupFirst, NGram, TransformersVerifier, decode, pass_milliseconds

COLUMNS = [
    ("kind", "prompts", ""),
    ("repeats", "text repeats", ""),
    ("batch", "at once", "d"),
    ("library", "written by", ""),
    ("count", "number", "d"),
    ("tokens_a_pass", "tokens a pass", ".2f"),
    ("drafted", "drafted a pass", ".2f"),
    ("tokens_a_second", "tokens a second", ".1f"),
    ("faster", "times faster than plain", ".2f"),
    ("low", "from", ".2f"),
    ("high", "to", ".2f"),
    ("same", "texts as plain", "d"),
]

PLAIN, THEIRS = "plain, cached", "transformers' prompt lookup"


class Written(NamedTuple):
    """What was written after some prompts at once, and the seconds it took."""

    decoded: Decoded
    seconds: float


def timed(write: Callable[[], Decoded]) -> Written:
    start = time.perf_counter()
    decoded = write()
    return Written(decoded, time.perf_counter() - start)


def by_transformers(verifier: TransformersVerifier, prompt: Sequence[int], tokens: int, block: int) -> Decoded:
    """Greedy text by the package's own prompt lookup, whose passes are counted at the model."""
    x, passes = torch.tensor([list(prompt)]), 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    hook = verifier.model.register_forward_hook(count)
    how = {"do_sample": False, "max_new_tokens": tokens, "min_new_tokens": tokens, "eos_token_id": None}
    try:
        out = verifier.model.generate(
            x, attention_mask=torch.ones_like(x), pad_token_id=0, prompt_lookup_num_tokens=block, **how
        )
    finally:
        hook.remove()
    return Decoded([out[0, x.shape[1] :].tolist()], [passes], [0], [0])


def row(kind: str, repeats: str, batch: int, name: str, some: list[Written], plain: list[Written]) -> dict[str, Any]:
    """One row of the table. Passes are counted for each text, also where several are written at once."""
    tokens = sum(len(text) for each in some for text in each.decoded.tokens)
    passes = sum(sum(each.decoded.passes) for each in some)
    faster = [a.seconds / b.seconds for a, b in zip(plain, some, strict=True)]
    low, high = timing.spread(faster)
    same = [
        a == b
        for one, other in zip(plain, some, strict=True)
        for a, b in zip(one.decoded.tokens, other.decoded.tokens, strict=True)
    ]
    return {
        "kind": kind,
        "repeats": repeats,
        "batch": batch,
        "library": name,
        "count": len(same),
        "tokens_a_pass": tokens / passes,
        "drafted": sum(sum(each.decoded.drafted) for each in some) / passes,
        "tokens_a_second": tokens / sum(each.seconds for each in some),
        "faster": timing.median(faster),
        "low": low,
        "high": high,
        "same": sum(same),
    }


def drafters(options: argparse.Namespace, verifier: TransformersVerifier) -> dict[str, Drafter | None]:
    """Who drafts, by name."""
    lookup = NGram(shortest=2)
    found: dict[str, Drafter | None] = {PLAIN: None, "lookup": lookup}
    if options.drafter is None:
        return found
    drafting = um.recipe.with_data(options.drafter, "cpu")
    ours = replace(drafting.drafter_for(verifier), temperature=0.0)
    if options.autoregressive:
        from autoregressive_drafter import trained

        place = drafting.source, drafting.training, drafting.places
        found["autoregressive drafter of equal size"] = trained(verifier, ours.network, *place)
    return found | {"ours": ours, "lookup first, then ours": LookupFirst(lookup, ours, ours.block)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/drafting.json and .md")
    parser.add_argument("--verifier", type=Path, required=True, help="a folder or a .gguf file of a causal model")
    parser.add_argument("--drafter", type=Path, help="the run folder of a drafter for it")
    parser.add_argument("--autoregressive", action="store_true", help="train one of equal size, as long, beside it")
    parser.add_argument("--learned", nargs="*", default=(), help="names of files and topics that it learned from")
    parser.add_argument("--kinds", nargs="*", default=("code", "prose", "chat"))
    parser.add_argument("--prompts", type=int, default=50, help="of each kind")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of a prompt of code or prose")
    parser.add_argument("--tokens", type=int, default=64, help="to write after each prompt")
    parser.add_argument("--block", type=int, default=8, help="tokens of a draft, at most")
    parser.add_argument("--batches", type=int, nargs="*", default=(1,), help="prompts at once")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    options, start = parser.parse_args(), time.perf_counter()
    verifier = TransformersVerifier.load(options.verifier)
    verifier.model.to(getattr(torch, options.dtype))
    tokenizer = verifier.tokenizer

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    prompts = {
        "code": lambda: drafting_prompts.code(encode, options.prompt, options.learned),
        "prose": lambda: drafting_prompts.prose(encode, options.prompt, options.learned),
        "chat": lambda: drafting_prompts.chat(tokenizer, encode),
    }
    title = f"Drafted decoding, {options.prompts} prompts a kind, {options.tokens} tokens written, {options.dtype}"
    report = timing.Report("drafting", title, COLUMNS)
    ours = drafters(options, verifier)

    def write(some: list[list[int]], name: str) -> Decoded:
        if name == THEIRS:
            return by_transformers(verifier, some[0], options.tokens, options.block)
        drafter = ours[name]
        block = min(options.block, getattr(drafter, "block", None) or options.block)
        return decode(verifier, some, options.tokens, drafter=drafter, block=block, temperature=0.0, seed=0)

    for kind, batch in itertools.product(options.kinds, options.batches):
        found = prompts[kind]()
        every = found[:: max(1, len(found) // options.prompts)][: options.prompts]
        groups = [every[k : k + batch] for k in range(0, len(every) - batch + 1, batch)]
        names = [*ours, *([THEIRS] if batch == 1 and options.dtype == "float32" else [])]
        write([each[:32] for each in groups[0]], "lookup")
        written: dict[str, list[Written]] = {name: [] for name in names}
        for number, some in enumerate(groups):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:  # each is first and last in turn
                written[name].append(timed(lambda some=some, name=name: write(some, name)))
        again = [
            all(map(drafting_prompts.repeats, some, each.decoded.tokens))
            for some, each in zip(groups, written[PLAIN], strict=True)
        ]
        for word, wanted in (("yes", True), ("no", False)):
            chosen = {
                name: [each for each, is_so in zip(w, again, strict=True) if is_so is wanted]
                for name, w in written.items()
            }
            if chosen[PLAIN]:
                report.rows += [row(kind, word, batch, name, each, chosen[PLAIN]) for name, each in chosen.items()]
    most = max(16, options.block + 1)
    costs = pass_milliseconds(verifier, most, options.prompt, repeats=3)
    shown = ", ".join(f"{n}: {costs[n - 1]:.0f}" for n in (1, 2, 4, 8, 16))
    report.notes.append(f"Milliseconds of a pass over n tokens after {options.prompt}: {shown}.")
    report.notes.append("Seconds include reading the prompt. From and to are quartiles over prompts.")
    report.notes.append("A text repeats if half of its 4-grams stood in it or in its prompt before, by plain decoding.")
    report.found["milliseconds"] = costs
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
