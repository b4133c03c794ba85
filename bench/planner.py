"""Plans of free-form prompts: how many are right, beside a random model and literal words alone.

    python bench/planner.py SmolLM2-135M-Instruct.gguf [dev|test]

The prompts are in `bench/planner_prompts.py`. A plan is right if its groups are those of the true scene, in any order.
Slots are compared group by group, in the order in which the prompt names them. Words of place are a closed class that
is listed in `unmelt/planner/meaning.py`: what is measured of the language model is what it makes of other words.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch
from planner_prompts import DEV, TEST

from unmelt.encoder.pretrained import load_pretrained
from unmelt.errors import UsageError
from unmelt.planner import LanguageModelPlanner, VocabularyPlanner
from unmelt.scene import Group, Scene

SLOTS = ("object", "colour", "number", "place")


class LiteralPlanner:
    """The planner without a language model; a plain apple where it knows no object."""

    def plan(self, prompts):
        return [self._plan(prompt) for prompt in prompts]

    def _plan(self, prompt):
        try:
            return VocabularyPlanner().plan(prompt)
        except UsageError:
            return Scene((Group("apple"),))


def random_model(path, folder):
    """The same architecture and tokenizer with random weights."""
    from transformers import AutoModelForCausalLM

    tokenizer, model = load_pretrained(path, writes=True)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(model.config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def score(planner, prompts):
    """Shares of right scenes, of right numbers of groups and of right slots; and the wrong plans."""
    scenes = planner.plan([prompt for prompt, _ in prompts])
    truths = [Scene.parse(text) for _, text in prompts]
    right = [set(map(str, a.groups)) == set(map(str, b.groups)) for a, b in zip(scenes, truths, strict=True)]
    found = {"exact": sum(right) / len(right)}
    found["groups"] = sum(len(a.groups) == len(b.groups) for a, b in zip(scenes, truths, strict=True)) / len(truths)
    for slot in SLOTS:
        pairs = [
            (getattr(a.groups[k], slot) if k < len(a.groups) else "absent", getattr(group, slot))
            for a, b in zip(scenes, truths, strict=True)
            for k, group in enumerate(b.groups)
        ]
        found[slot] = sum(a == b for a, b in pairs) / len(pairs)
    wrong = [(p[0], str(a), p[1]) for p, a, good in zip(prompts, scenes, right, strict=True) if not good]
    return found, wrong


def main(path, half="test"):
    prompts = {"dev": DEV, "test": TEST}[half]
    with tempfile.TemporaryDirectory() as folder:
        planners = {
            "language model": LanguageModelPlanner(path, device="cpu"),
            "random model": LanguageModelPlanner(str(random_model(path, Path(folder))), device="cpu"),
            "literal words": LiteralPlanner(),
        }
        print(f"{len(prompts)} prompts ({half})")
        print(f"{'':16}" + "".join(f"{name:>8}" for name in ("exact", "groups", *SLOTS, "s each")))
        for name, planner in planners.items():
            planner.plan([prompts[0][0]])
            began = time.perf_counter()
            found, wrong = score(planner, prompts)
            seconds = (time.perf_counter() - began) / len(prompts)
            print(f"{name:16}" + "".join(f"{value:8.2f}" for value in (*found.values(), seconds)), flush=True)
            if name == "language model":
                for prompt, made, truth in wrong:
                    print(f"    {prompt!r}: {made}, not {truth}")


if __name__ == "__main__":
    main(*sys.argv[1:])
