"""`unmelt tune | eval | curve`: fit a few-step sampler, score a model, plot quality against evaluations."""

from dataclasses import asdict
from pathlib import Path

from unmelt.cli import destination
from unmelt.cli.output import print_json
from unmelt.cli.runs import RunFolder, of_numbers
from unmelt.cli.table import table
from unmelt.errors import UsageError
from unmelt.terminal import notify

MINUTES = 5.0
"""Default time to sample for in `unmelt eval`."""


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
    """Fit a few-step sampler to a trained model. The run keeps it and uses it for samples with this many steps.

    Args:
        folder: The run folder.
        steps: Network evaluations per sample.
        guidance: Scale of classifier-free guidance that the sampler is fitted for; 1 is unguided.
        rows: Rows of noise to fit to; a quarter of them is held out to measure the error.
        rounds: Iterations of the least-squares fit.
        seed: Seed of the noise.
        device: Where to compute: auto, cpu or cuda.
        json: Print one JSON object and nothing else.
    """
    from unmelt import run_folder

    model = of_numbers(folder, device)
    run_folder.writable(folder)
    result = model.tune(steps, guidance=guidance, rows=rows, rounds=rounds, seed=seed)
    scores = {
        "steps": steps,
        "guidance": guidance,
        "default_error": result.default_error,
        "tuned_error": result.tuned_error,
    }
    if json:
        print_json(scores)
    else:
        table(scores, f"{folder}: end-point error on held-out noise")


def evaluate(
    folder: RunFolder,
    /,
    samples: int | None = None,
    minutes: float = MINUTES,
    steps: int | None = None,
    guidance: float = 1.0,
    seed: int = 0,
    again: bool = False,
    device: str = "auto",
    allow_other_data: bool = False,
    json: bool = False,
) -> None:
    """Score a trained model against held-out data, and write the scores to RUN/eval.json.

    Images, points and sound are scored by samples; text by its bits per byte, and by answers where the recipe has
    questions; an autoencoder by its reconstructions; a drafter by the tokens that a pass of its language model writes.
    Under torchrun, every process does a share.

    Args:
        folder: The run folder.
        samples: Number of samples. Default: as many as there are training rows, and at least 20,000 images, or as many
            as --minutes allow. For text, rows of held-out text; default: all.
        minutes: Time to sample for where --samples is not given; at least 1,000 samples are made however long it takes.
        steps: Network evaluations per sample, approximately. Default: the model's own number.
        guidance: Scale of classifier-free guidance; 1 is unguided.
        seed: Seed of the samples.
        again: Measure anew, even if the scores of these weights, data and settings are on record.
        device: Where to compute: auto, cpu or cuda.
        allow_other_data: Judge by the data as they are now, though the run recorded others.
        json: Print one JSON object and nothing else.

    Raises:
        UsageError: If an option does not apply to this kind of model, or the run has no data to be scored by.
    """
    from unmelt import card, recorded_scores, run_folder
    from unmelt.device import device_named
    from unmelt.model import CodecModel, DrafterModel, SpeechModel, TextModel, VocoderModel
    from unmelt.recipe import with_data
    from unmelt.train import distributed

    run_folder.read_about(folder)  # whether it is a run at all comes first
    run_folder.writable(folder)
    with distributed.process_group(device_named(device)) as own:
        model = with_data(folder, own, allow_other_data)
        if isinstance(model, TextModel | CodecModel | VocoderModel | DrafterModel):
            what = {TextModel: "text is", DrafterModel: "drafts are"}.get(type(model), "reconstructions are")
            given = {"steps": steps, "guidance": None if guidance == 1 else guidance}
            for name in (name for name, value in given.items() if value is not None):
                raise UsageError(
                    f"--{name} for {folder}", f"none: {what} scored without sampling", f"unmelt eval {folder}"
                )
        asked = recorded_scores.question(
            folder,
            model.source,
            model.held_out,
            samples=samples,
            minutes=minutes,
            steps=steps,
            guidance=guidance,
            seed=seed,
        )
        known = None if again else recorded_scores.recorded(folder, asked)
        if known is not None:
            scores = known
        elif isinstance(model, TextModel):
            scores = model.evaluate(rows=samples, seed=seed)
        elif isinstance(model, CodecModel | VocoderModel):
            scores = model.evaluate(samples=samples)
        elif isinstance(model, DrafterModel):
            scores = model.evaluate(samples=samples, seed=seed)
        elif isinstance(model, SpeechModel):
            scores = model.evaluate(samples=samples, steps=steps, guidance=guidance, seed=seed)
        else:
            scores = model.evaluate(samples=samples, minutes=minutes, steps=steps, guidance=guidance, seed=seed)
    if not distributed.is_main():
        return
    if known is None:
        recorded_scores.record(folder, asked, scores)
    else:
        notify(
            f"as recorded in {folder / card.SCORES}: weights, data and settings are the same (--again measures anew)"
        )
    if json:
        print_json(scores)
    else:
        table(scores, str(folder))


def curve(
    folder: RunFolder,
    /,
    steps: tuple[int, ...] | None = None,
    rows: int = 256,
    guidance: float = 1.0,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    allow_other_data: bool = False,
    json: bool = False,
) -> None:
    """Plot quality against network evaluations, samples along their trajectories, and how straight the paths are.

    Args:
        folder: The run folder.
        steps: Numbers of network evaluations to try. Default: seven of them, from 4 to 40.
        rows: Rows of noise, the same for every sampler.
        guidance: Scale of classifier-free guidance; 1 is unguided.
        seed: Seed of the noise.
        out: Folder for the pictures. Default: the run folder.
        device: Where to compute: auto, cpu or cuda.
        allow_other_data: Judge by the data as they are now, though the run recorded others.
        json: Print one JSON object and nothing else.
    """
    from unmelt import diagnose, run_folder
    from unmelt.model import Model
    from unmelt.recipe import with_data

    out = out or folder
    run_folder.read_about(folder)  # whether it is a run at all comes first
    destination.check_folder(out)
    of_numbers(folder, device)
    model = with_data(folder, device, allow_other_data)
    assert isinstance(model, Model)
    with destination.made(out):
        found = diagnose.curve(model, steps or diagnose.STEPS, rows=rows, guidance=guidance, seed=seed, out=out)
    if json:
        print_json(asdict(found))
        return
    for name, values in (("end-point error", found.error), (found.measure, found.distance)):
        rows_of = {sampler: "  ".join(f"{n}: {x:.4f}" for n, x in each.items()) for sampler, each in values.items()}
        if rows_of:
            table(rows_of, f"{name} by evaluations")
    table({"S": found.straightness, "detour": found.detour}, "straightness of paths (0 is straight)")
    notify(f"pictures: curve, quality, straightness and trajectory.png in {out}")
