"""`unmelt distill RUN`: train a student that samples in a few steps."""

from pathlib import Path
from typing import Any

from unmelt.cli import destination
from unmelt.cli.runs import RunFolder, generative_model
from unmelt.errors import UsageError, nearest
from unmelt.terminal import notify

METHODS = {
    "adversarial": "Adversarial",
    "autoregressive-head": "AutoregressiveHead",
    "consistency": "Consistency",
    "continuous-consistency": "ContinuousConsistency",
    "distribution-matching": "DistributionMatching",
    "drifting": "Drifting",
    "mean-flow": "MeanFlow",
    "progressive": "Progressive",
    "reflow": "Reflow",
    "sdtt": "SDTT",
    "shortcut": "Shortcut",
}
"""Classes of `um.distill` by their names on the command line."""


def distill(
    folder: RunFolder,
    /,
    method: str,
    out: Path,
    steps: int = 2,
    guidance_max: float | None = None,
    from_scratch: bool = False,
    start: Path | None = None,
    training_steps: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    save_every: int | None = None,
    device: str = "auto",
    log_to: str = "auto",
    allow_other_data: bool = False,
    gradient_accumulation: int = 1,
    shard: bool = False,
) -> None:
    """Train a student of a trained model, which samples in a few steps. The same command resumes an interrupted run.

    Args:
        folder: The teacher's run folder.
        method: How the student learns: METHODS.
        out: The student's run folder.
        steps: Steps of the student's sampler, which are network calls.
        guidance_max: Largest guidance scale that the student learns as an input; the smallest is 1. Default: the
            student is unguided.
        from_scratch: Learn from the data alone, where the method can.
        start: Run folder of an earlier student of this teacher, with whose weights the new one begins.
        training_steps: Training steps. Default: the method's own number, as for the next four.
        batch: Rows per training step.
        lr: Peak learning rate.
        seed: Seed of the order of the data and of the noise.
        save_every: Training steps between checkpoints.
        device: Where to compute: auto, cpu or cuda.
        log_to: Where to log besides the run folder: tensorboard, wandb, trackio, none, or auto.
        allow_other_data: Go on with other data than the run was started with, and record them in their place.
        gradient_accumulation: Micro-batches per step. More need less memory.
        shard: Shard weights and optimizer state over the processes (FSDP2).

    Raises:
        UsageError: If there is no such method, or it does not fit the teacher.
    """
    word = method.lower().replace("_", "-")
    if word not in METHODS:
        known = {name.replace("-", ""): name for name in METHODS} | {
            each.lower(): name for name, each in METHODS.items()
        }
        near = known[nearest(word.replace("-", ""), known)]
        raise UsageError(f"--method {method}", f"one of {', '.join(METHODS)}", f"--method {near}")
    destination.check_folder(out)

    import dataclasses

    import unmelt as um
    from unmelt.interop.load_model import load_model
    from unmelt.recipe import with_data
    from unmelt.train import Execution, distributed

    made = getattr(um.distill, METHODS[word])()
    if from_scratch:
        if not hasattr(made, "from_scratch"):
            raise UsageError(
                f"--from-scratch with --method {word}", "a method that needs no teacher", "--method mean-flow"
            )
        made = dataclasses.replace(made, from_scratch=True)
    teacher = generative_model(folder, with_data(folder, device, allow_other_data))
    earlier: Any = None if start is None else load_model(start, device)
    execution = Execution(gradient_accumulation=gradient_accumulation, shard=shard)
    try:
        student = teacher.distill(
            made,
            steps=steps,
            out=out,
            guidance_range=None if guidance_max is None else (1.0, guidance_max),
            start=earlier,
            training_steps=training_steps,
            batch=batch,
            lr=lr,
            seed=seed,
            save_every=save_every,
            device=device,
            execution=execution,
            log_to=log_to,
            allow_other_data=allow_other_data,
        )
    except KeyboardInterrupt as ended:
        raise type(ended)("the same command goes on from here") from None
    except SystemExit:
        notify("terminated: saved, and the same command goes on from here")
        raise
    if not distributed.is_main():
        return
    shown = student.save_preview(out / "samples")
    notify(f"distilled: {out} (samples in {shown}, losses in {out / 'loss.png'})")
