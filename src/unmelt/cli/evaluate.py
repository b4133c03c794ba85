"""`unmelt tune | eval | curve`: learned to be quick, judged, and drawn."""

from dataclasses import asdict
from pathlib import Path

from unmelt import card, diagnose, run
from unmelt.cli.output import notify, print_json, table
from unmelt.cli.runs import RunFolder, of_numbers, with_data
from unmelt.device import device_named
from unmelt.model import Model, TextModel
from unmelt.train import processes
from unmelt.train.files import write_json


def tune(
    folder: RunFolder,
    /,
    steps: int = 5,
    guidance: float = 1.0,
    rows: int = 512,
    rounds: int = 12,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Teach a trained model to sample in few steps; the run keeps what was learned and samples with it from then on.

    Args:
        steps: Network evaluations of a sample.
        guidance: Scale of classifier-free guidance that it will be used with; 1 is none.
        rows: Of noise to learn from; a quarter of them judges.
        rounds: Of learning.
        seed: Of the noise.
        device: What to compute on: auto, cpu or cuda.
        json: Print one JSON object.
    """
    model = of_numbers(folder, device)
    run.writable(folder)
    lesson = model.tune(steps, guidance=guidance, rows=rows, rounds=rounds, seed=seed)
    scores = {
        "steps": steps,
        "guidance": guidance,
        "default_error": lesson.default_error,
        "tuned_error": lesson.tuned_error,
    }
    if json:
        print_json(scores)
    else:
        table(scores, f"{folder}: end-point error on noise it has not seen")


def evaluate(
    folder: RunFolder,
    /,
    samples: int | None = None,
    steps: int | None = None,
    guidance: float = 1.0,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Judge a trained model against held-out data; RUN/eval.json keeps the scores.

    Of images and points, samples are judged; of text, its bits per byte, and answers to questions where there are some.
    Under torchrun, every process does a share.

    Args:
        samples: How many; as many as there are training data if not given, and at least 20,000 images. Of text, rows.
        steps: Network evaluations, about; the model's own number if not given.
        guidance: Scale of classifier-free guidance; 1 is none.
        seed: Of the samples.
        device: What to compute on: auto, cpu or cuda.
        json: Print one JSON object.
    """
    run.read_about(folder)  # whether it is a run at all comes first
    run.writable(folder)
    with processes.joined(device_named(device)) as own:
        model = with_data(folder, own)
        if isinstance(model, TextModel):
            scores = model.evaluate(rows=samples, seed=seed)
        else:
            scores = model.evaluate(samples=samples, steps=steps, guidance=guidance, seed=seed)
    if not processes.first():
        return
    write_json(folder / card.SCORES, {**scores, "weights": run.read_about(folder)["weights"]})
    if json:
        print_json(scores)
    else:
        table(scores, str(folder))


def curve(
    folder: RunFolder,
    /,
    steps: tuple[int, ...] = diagnose.STEPS,
    rows: int = 256,
    guidance: float = 1.0,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Draw quality against evaluations, samples on their way, and how straight their paths are.

    Args:
        steps: Numbers of evaluations to try.
        rows: Of noise, the same for every sampler.
        guidance: Scale of classifier-free guidance; 1 is none.
        seed: Of the noise.
        out: Where the pictures go; the run folder if not given.
        device: What to compute on: auto, cpu or cuda.
        json: Print one JSON object.
    """
    of_numbers(folder, device)
    model = with_data(folder, device)
    assert isinstance(model, Model)
    out = out or folder
    run.writable(out)
    found = diagnose.curve(model, steps, rows=rows, guidance=guidance, seed=seed, out=out)
    if json:
        print_json(asdict(found))
        return
    for name, values in (("end-point error", found.error), (found.measure, found.distance)):
        rows_of = {sampler: "  ".join(f"{n}: {x:.4f}" for n, x in each.items()) for sampler, each in values.items()}
        if rows_of:
            table(rows_of, f"{name} by evaluations")
    table({"S": found.straightness, "detour": found.detour}, "straightness of paths (0 is straight)")
    notify(f"pictures: curve, quality, straightness and trajectory.png in {out}")
