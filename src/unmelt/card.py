"""The model card: README.md of a shared folder, as the Hub shows it.

Everything in it is read from the run folder: settings, steps, losses, and the scores that `unmelt eval` measured with
these weights. What the folder does not record is said to be unknown. A card that somebody has edited, and from which
they took the marker comment, is not overwritten.
"""

import html
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from unmelt import config, run_folder
from unmelt.errors import UsageError
from unmelt.modality import Images, Text
from unmelt.terminal import printable
from unmelt.train import read_metrics
from unmelt.train.atomic_files import write

CARD, SCORES, PICTURE = "README.md", "eval.json", "samples.png"

LONGEST = 20
"""Values of a list that a card shows; of longer ones, such as the pairs of a tokenizer, it shows three."""

OURS = "<!-- Written by unmelt, which will write it anew; without this line it is yours and stays. -->"

LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def finish(made: Path, folder: Path, home: Path | None, name: str | None, license: str | None) -> None:
    """Add a card, scores and a picture of samples to a folder that holds config.json and weights.

    Args:
        made: Where config.json and weights are, and the card goes.
        folder: The folder that will be shared, and may hold an earlier card.
        home: The run folder of the model, from which scores, losses and the picture are taken; None if it has none.
        name: The name that the model will be loaded by; None for the folder's name.
        license: License of the weights, by its short name; None keeps that of an earlier card, or "unknown".
    """
    check_license(license)
    about = run_folder.read_about(made)
    cards = [place / CARD for place in (folder, home) if place is not None and (place / CARD).is_file()]
    if license is None:
        license = next(filter(None, map(_license, cards)), None)
    scores, seconds, pictured = None, None, (folder / PICTURE).is_file()
    if home is not None:
        scores, lines = read_scores(home, about), read_metrics(home / run_folder.METRICS)
        seconds = lines[-1]["seconds"] if lines else None
        newest = _picture(home)
        if newest is not None:
            shutil.copyfile(newest, made / PICTURE)
            pictured = True
        if scores is not None:
            shutil.copyfile(home / SCORES, made / SCORES)
    own = next((card for card in cards if OURS not in card.read_text(encoding="utf-8")), None)
    text = (
        own.read_text(encoding="utf-8")
        if own
        else card(about, name or folder.absolute().name, license, seconds, scores, pictured)
    )
    write(made / CARD, text.encode())


def check_license(license: str | None) -> None:
    """Refuse a license name that the Hub would not accept.

    Args:
        license: The short name; None is accepted.

    Raises:
        UsageError: If it is not made of small letters, digits, dots, plus signs and hyphens.
    """
    if license is not None and not LICENSE.fullmatch(license):
        raise UsageError(f"license={license!r}", "the licence's short name, in small letters", 'license="apache-2.0"')


def read_scores(folder: Path, about: dict[str, Any]) -> dict[str, Any] | None:
    """Read the scores that `unmelt eval` wrote for these weights.

    Args:
        folder: The run folder.
        about: Its config.json.

    Returns:
        Scores by name; None if there are none, or they belong to other weights.

    Raises:
        UsageError: If the file of scores is damaged.
    """
    path = folder / SCORES
    if not path.is_file():
        return None
    try:
        scores = dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path} is damaged ({error})", "what unmelt eval wrote", f"um.load({str(folder)!r}).evaluate()"
        ) from None
    scores.pop("asked", None)
    return scores if scores.pop("weights", None) == about["weights"] else None


def _license(card: Path) -> str | None:
    found = re.search(rf"^license: ({LICENSE.pattern})$", card.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found and found[1] != "unknown" else None


def _picture(home: Path) -> Path | None:
    """The newest picture of samples."""
    steps = sorted((home / "samples").glob("*.png"))
    return next((path for path in (home / PICTURE, *reversed(steps)) if path.is_file()), None)


def card(
    about: dict[str, Any],
    name: str,
    license: str | None,
    seconds: float | None,
    scores: dict[str, Any] | None,
    picture: bool,
) -> str:
    """Write the text of a model card.

    Args:
        about: The model's config.json.
        name: The name that it is loaded by, such as OWNER/NAME.
        license: License of the weights, by its short name; None for unknown.
        seconds: How long training took; None for unknown.
        scores: Scores of these weights by name; None for unknown.
        picture: Whether samples.png lies beside the card.

    Returns:
        The card, in Markdown with the Hub's metadata in front.
    """
    recipe = about["origin"].get("recipe", "none")
    kinds = {
        "CodecModel": _of_autoencoder,
        "VocoderModel": _of_vocoder,
        "SpeechModel": _of_speech,
        "DrafterModel": _of_drafter,
    }
    kind = kinds.get(about["facade"], _of_model)(about)
    front = ["---", f"license: {license or 'unknown'}", "library_name: unmelt"]
    front += [f"pipeline_tag: {kind.task}"] if kind.task else []
    front += ["tags:", *(f"- {tag}" for tag in kind.tags), "---"]
    body = [
        f"# {plain(name.rpartition('/')[2])}",
        OURS,
        f"{kind.what}, in {about['parameters']:,} parameters; unmelt's recipe {plain(recipe)}.",
        *(["![Samples](samples.png)"] if picture else []),
        kind.heading,
        f"""```python
# pip install "unmelt[hub]"
import unmelt as um

model = um.from_pretrained({json.dumps(name)})  # a folder on disk does as well
{kind.code}
```""",
        "## What it is",
        _table(kind.parts),
        "## Data",
        plain(about["notes"], keep="\n") or "What the recipe says; the run recorded nothing further about them.",
        "## How it was trained",
        _trained(about, seconds),
        "## How good it is",
        _table(scores) if scores else "No score of these weights was recorded. `unmelt eval RUN` makes one.",
        "## What it cannot do",
        "\n".join(f"- {limit}" for limit in (*kind.limits, *_limits(about, scores))),
        "## Licence of the weights",
        license or "Unknown: whoever shared this model did not state one.",
    ]
    return "\n".join(front) + "\n\n" + "\n\n".join(body) + "\n"


class _KindOfModel(NamedTuple):
    """What a card says of one kind of model and not of others."""

    task: str
    tags: list[str]
    what: str
    heading: str
    code: str
    parts: dict[str, str]
    limits: list[str]


def _of_model(about: dict[str, Any]) -> _KindOfModel:
    denoiser, classes = about["model"]["denoiser"], about["classes"]
    shape = (denoiser.get("base") or denoiser)["shape"]
    modality = config.build(about["model"]["modality"])
    kind, is_text = plain(modality.name), isinstance(modality, Text)
    what = f"{kind} of up to {shape[0]} tokens" if is_text else f"{kind} of shape {' x '.join(map(str, shape))}"
    is_causal = denoiser["part"].rpartition(".")[2] == "Autoregressive"
    samples, shown = ("texts", "print(texts[0])") if is_text else ("x", 'model.draw(x, path="samples.png")')
    encoder = about["model"].get("encoder")
    asked = f", label={classes[-1]!a}, guidance=2.0" if classes else ""
    if encoder and not classes:
        planned = about["model"].get("planner") is not None
        asked = ', prompt="a red star above a blue cat", plan=True' if planned else ', prompt="what to show"'
        asked += ", guidance=2.0"
    if classes:
        hears = f"It knows {len(classes)} classes and nothing else to be told."
    elif encoder:
        hears = "It is told what to make by captions like those that it learned from, and understands few others."
    else:
        hears = "It goes on from a prompt; it follows no instruction." if is_text else "It cannot be told what to make."
    parts = {"denoiser": denoiser["part"], "backbone": short(denoiser.get("backbone"))}
    parts |= {part: short(about["model"][part]) for part in ("encoder", "planner") if about["model"].get(part)}
    parts |= {part: short(about["model"][part] or "the default") for part in ("codec", "sampler", "grid", "objective")}
    return _KindOfModel(
        "text-to-image" if encoder and isinstance(modality, Images) else modality.hub_task,
        ["unmelt", *([] if is_causal else ["diffusion"])],
        f"{'An autoregressive' if is_causal else 'A diffusion'} model that makes {what}",
        "## To sample",
        f"{samples} = model.sample({4 if is_text else 16}, seed=0{asked})\n{shown}",
        parts | {"classes": ", ".join(classes) or "none"},
        [
            f"It makes {what}, and no others.",
            hears,
            f"It makes {kind} like those it learned from, with whatever is missing from or one-sided in them.",
        ],
    )


def _of_autoencoder(about: dict[str, Any]) -> _KindOfModel:
    codec = config.build(about["model"]["codec"])
    kind = "tokens" if hasattr(codec, "vocabulary") else f"{codec.latent_channels} channels of numbers"
    return _KindOfModel(
        "",
        ["unmelt", "autoencoder"],
        f"An autoencoder of images, whose sides it divides by {codec.factor}, to {kind}",
        "## To encode and decode",
        "z = model.encode(x)  # x: [rows, channels, height, width], in [0, 1]\nx = model.decode(z)",
        {part: short(about["model"][part] or "none") for part in ("codec", "objective")},
        [
            f"It takes images of {codec.channels} channels with sides that are multiples of {codec.factor}.",
            "It makes nothing from noise: a model of its latents does.",
            "It blurs or invents fine detail, most of all of images unlike those it learned from.",
        ],
    )


def _of_drafter(about: dict[str, Any]) -> _KindOfModel:
    network, verifier = about["model"]["network"], about["model"]["verifier"]
    return _KindOfModel(
        "",
        ["unmelt", "speculative-decoding"],
        f"A drafter that proposes up to {network['block']} tokens at a time to one language model, which verifies them",
        "## To write with it",
        "from unmelt.drafting import TransformersVerifier, decode\n\n"
        "verifier = TransformersVerifier.load('its/language/model')\n"
        "prompt = verifier.tokenizer.encode('The sea')\n"
        "found = decode(verifier, [prompt], 64, drafter=model.drafter_for(verifier))",
        {"network": short(network), "verifier": short(verifier)},
        [
            "It drafts for the language model it was trained for, and for no other.",
            "It makes that model's text faster at most, and neither better nor worse.",
        ],
    )


def _of_speech(about: dict[str, Any]) -> _KindOfModel:
    classes, modality = about["classes"], config.build(about["model"]["modality"])
    voice = f", voice={classes[-1]!a}" if classes else ""
    return _KindOfModel(
        "text-to-speech",
        ["unmelt", "diffusion", "speech"],
        f"A diffusion model that says texts, {modality.sample_rate:,} samples a second",
        "## To say something",
        f'x = model.sample("Some text."{voice}, guidance=2.0, seed=0)[0]  # [1, samples]\nmodel.write(x, "said.wav")',
        {
            part: short(about["model"][part] or "the default")
            for part in ("codec", "encoder", "sampler", "grid", "objective")
        }
        | {"voices": ", ".join(classes) or "one"},
        [
            "It reads the letters that it learned from; numbers and signs must be written as words.",
            "It speaks as those who were recorded, or goes on with the voice of a prompt.",
            "A voice belongs to somebody: ask before you make it say things.",
        ],
    )


def _of_vocoder(about: dict[str, Any]) -> _KindOfModel:
    mel = config.build(about["model"]["codec"]).mel
    return _KindOfModel(
        "",
        ["unmelt", "vocoder"],
        f"A vocoder: {mel.bands} mel bands, {mel.sample_rate / mel.hop:g} frames a second, to sound",
        "## To encode and decode",
        "z = model.encode(x)  # x: [rows, 1, samples], in [-1, 1]\nx = model.decode(z)",
        {part: short(about["model"][part] or "none") for part in ("codec", "objective")},
        [
            f"It takes sounds of one channel with {mel.sample_rate:,} samples per second.",
            "It makes nothing from noise: a model of its frames does.",
            "It was made for sounds like those it learned from.",
        ],
    )


def _trained(about: dict[str, Any], seconds: float | None) -> str:
    origin, training = about["origin"], about["model"]["training"]
    said = f"{about['steps_done']:,} steps"
    if training:
        said += f" of {training['steps']:,}, {training['batch']:,} rows each"
    said += "; how long it took was not recorded." if seconds is None else f", in {seconds:,.0f} seconds."
    said += " The weights are the running average of those of the last steps." if training else ""
    said += " Device and versions were not recorded."
    if "recipe" not in origin:
        return said + " It was not made by a recipe, so there is no command that trains it again."
    settings = [f"--{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in origin["settings"].items()]
    command = " ".join(["unmelt train", str(origin["recipe"]), "--out RUN", *settings])
    return said + " To train it again:\n\n    " + printable(command)  # on one line, so that it stays code


def _limits(about: dict[str, Any], scores: dict[str, Any] | None) -> list[str]:
    training, limits = about["model"]["training"], []
    if training and about["steps_done"] < training["steps"]:
        limits.append(f"Its training stopped after {about['steps_done']:,} of {training['steps']:,} steps.")
    if scores is None:
        limits.append("Nobody has recorded how good it is.")
    return limits


def _table(values: dict[str, Any]) -> str:
    rows = [
        f"| {plain(name.replace('_', ' '))} | {f'{value:.4g}' if isinstance(value, float) else plain(str(value))} |"
        for name, value in values.items()
        if not isinstance(value, dict | list)
    ]
    return "\n".join(["| | |", "|---|---|", *rows])


def plain(text: str, keep: str = "") -> str:
    """Write a text so that Markdown and HTML show it as it is: names of classes and files come from other people.

    Args:
        text: Any text.
        keep: Characters without a picture that stay, such as line ends.

    Returns:
        The text, escaped.
    """
    text = html.escape(printable(text, keep=keep), quote=False)
    text = re.sub(r"(\\(?!u|x|n|t|r|U)|[`*\[\]|~]|(?<!\w)_|_(?!\w))", r"\\\1", text)
    return re.sub(r"^(\s*)([#+=-])", r"\1\\\2", text, flags=re.MULTILINE)


def short(part: Any) -> str:
    """Write a part's description as the call that would make the part.

    Args:
        part: A description as in config.json, or a plain value.

    Returns:
        The call.
    """
    if isinstance(part, dict):
        inside = ", ".join(f"{name}={short(value)}" for name, value in part.items() if name != "part")
        return f"{part['part'].rpartition('.')[2]}({inside})"
    if isinstance(part, list) and len(part) > LONGEST:
        return f"({', '.join(map(repr, part[:3]))}, ...: {len(part)} in all)"
    return str(tuple(part)) if isinstance(part, list) else str(part)
