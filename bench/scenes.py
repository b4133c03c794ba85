"""Words into pictures, read by a program that knows what they must show.

    python bench/scenes.py --language-model PATH --work runs/scenes.jsonl --save

For each arm and seed a model of `um.recipe.scenes` is trained, or loaded from --models. Every set has --captions scenes
of the six kinds in turn: seen combinations, combinations that were held out, and wordings that were held out. A caption
is the wording alone; with `plan`, the wording and the scene that the planner made of it; with `true plan`, the wording
and the scene itself; plans are laid out as the model's planner does. Shares are means over seeds with their standard
errors. The guidance scale is chosen
once, on captions of another seed. The arms:

    shuffled            hashed words; each training picture has the caption of another: must be at chance
    words               hashed words
    random model        states of a language model of the same shape with random weights
    language model      states of the language model

What has been measured is kept in --work, so that a run that was stopped goes on.
"""

import argparse
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timing
from few_steps import Measured
from planner import random_model

import unmelt as um
from unmelt.scene import PROMPT_SETS, SUITES, ScenePrompt, accuracy, scene_prompts

GUIDANCE = (1.0, 2.0, 4.0)
CHOICE_SEED, TEST_SEED = 100, 200
FORMS = ("wording", "plan", "true plan")


def right(model: um.Model, asked: Sequence[ScenePrompt], texts: Sequence[str], guidance: float, steps: int):
    """Shares of what is right in the sample of each caption."""
    found = accuracy(asked, model.sample(len(texts), caption=list(texts), guidance=guidance, steps=steps, seed=1))
    return {"kinds": found.kinds, **found.parts}


def trained(arm: str, seed: int, options: argparse.Namespace) -> um.Model:
    """The model of an arm, trained if it is not there."""
    place = options.models / f"{arm.replace(' ', '_')}{seed}"
    encoder = {
        "random model": lambda: str(random_model(options.language_model, options.models / "random_language_model")),
        "language model": lambda: options.language_model,
    }.get(arm, lambda: "words")()
    made = um.recipe.scenes(
        encoder=encoder,
        shuffled=arm == "shuffled",
        captions=options.pool,
        steps=options.training_steps,
        seed=seed,
        picture_every=0,
    )
    if not (place / "config.json").exists() or um.load(place).steps_done < options.training_steps:
        made.fit(place)
    model = um.load(place)
    assert isinstance(model, um.Model)
    return model


def measure(arm: str, seed: int, options: argparse.Namespace, measured: Measured) -> list[dict[str, Any]]:
    """The rows of an arm and seed."""
    key, model, rows = f"{arm} {seed} {options.training_steps}", trained(arm, seed, options), []
    chosen = measured(f"{key} guidance", lambda: {"scale": best_guidance(model, options)})["scale"]
    planner = None
    if options.language_model and arm in ("words", "language model"):
        from unmelt.planner import LanguageModelPlanner

        planner = LanguageModelPlanner(options.language_model)
    for name in PROMPT_SETS:
        asked = scene_prompts(name, options.captions, TEST_SEED)
        for form in FORMS:
            planned = None
            if form == "wording":
                texts = [each.wording for each in asked]
            elif form == "true plan":
                texts = [f"{each.wording} | {laid_out(model, each.scene, k)}" for k, each in enumerate(asked)]
            elif planner is not None:
                wordings = [each.wording for each in asked]
                plans = measured(
                    f"plans {name} {options.captions}",
                    lambda wordings=wordings: {"plans": [str(plan) for plan in planner.plan(wordings)]},
                )["plans"]
                pairs = [(each, um.scene.Scene.parse(plan)) for each, plan in zip(asked, plans, strict=True)]
                planned = statistics.mean(str(plan) == str(each.scene) for each, plan in pairs)
                texts = [f"{each.wording} | {laid_out(model, plan, k)}" for k, (each, plan) in enumerate(pairs)]
            else:
                continue
            found = measured(
                f"{key} {name} {form} {options.captions}",
                lambda asked=asked, texts=texts: right(model, asked, texts, chosen, options.steps),
            )
            rows.append(
                {"arm": arm, "seed": seed, "set": name, "form": form, "guidance": chosen, "plans": planned, **found}
            )
            print(f"{arm} {seed} {name} {form}: {found['all']:.3f}", flush=True)
    return rows


def laid_out(model: um.Model, scene: um.scene.Scene, seed: int) -> um.scene.Scene:
    """The plan as the model's own planner completes it."""
    return model.planner.lay_out(scene, seed) if hasattr(model.planner, "lay_out") else scene


def best_guidance(model: um.Model, options: argparse.Namespace) -> float:
    """The scale with the most captions all right, on captions that are not tested."""
    asked = scene_prompts("seen", options.captions // 2, CHOICE_SEED)
    texts = [each.wording for each in asked]
    return max(GUIDANCE, key=lambda scale: right(model, asked, texts, scale, options.steps)["all"])


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds and standard errors."""
    table = []
    for arm, name, form in dict.fromkeys((row["arm"], row["set"], row["form"]) for row in rows):
        mine = [row for row in rows if (row["arm"], row["set"], row["form"]) == (arm, name, form)]
        line: dict[str, Any] = {"arm": arm, "set": name, "form": form, "seeds": len(mine)}
        for part in ("all", "objects", "number", "colour", "place"):
            line[part] = statistics.mean(row[part] for row in mine)
        line |= {kind: statistics.mean(row["kinds"][kind] for row in mine) for kind in mine[0]["kinds"]}
        if mine[0]["plans"] is not None:
            line["plans"] = statistics.mean(row["plans"] for row in mine)
        if len(mine) > 1:
            line["error"] = statistics.stdev(row["all"] for row in mine) / math.sqrt(len(mine))
        table.append(line)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--language-model", help="folder or .gguf file of a causal language model")
    parser.add_argument("--arms", nargs="+", default=["shuffled", "words", "random model", "language model"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--training-steps", type=int, default=6000)
    parser.add_argument("--pool", type=int, default=4000, help="different captions to train on")
    parser.add_argument("--captions", type=int, default=204, help="captions of each set")
    parser.add_argument("--steps", type=int, default=16, help="sampling steps")
    parser.add_argument("--models", type=Path, default=Path("runs/scenes"))
    parser.add_argument("--work", type=Path, default=Path("runs/scenes.jsonl"))
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--save", action="store_true", help="also write bench/results/scenes.json and .md")
    options, start = parser.parse_args(), time.perf_counter()
    options.models.mkdir(parents=True, exist_ok=True)
    measured, rows = Measured(options.work), []
    for seed in options.seeds:
        for arm in options.arms:
            rows += measure(arm, seed, options, measured)
    columns = [("arm", "encoder", ""), ("set", "captions", ""), ("form", "given", ""), ("seeds", "seeds", "d")]
    columns += [("all", "all right", ".3f"), ("error", "±", ".3f"), ("plans", "plans right", ".3f")]
    columns += [(part, part, ".3f") for part in ("objects", "number", "colour", "place")]
    columns += [(kind, f"all right: {kind}", ".3f") for kind in SUITES]
    report = timing.Report("scenes", "What samples of captioned scenes show", columns, summary(rows))
    report.notes.append(
        f"{options.captions} captions a set; ± is the standard error over seeds; plans right: by themselves, unpainted"
    )
    timing.publish(report, options, time.perf_counter() - start)


if __name__ == "__main__":
    main()
