"""`unmelt play`: a page where keys move the dream of a world model."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from unmelt.errors import UsageError
from unmelt.terminal import notify

NEEDED = ("fastapi", "uvicorn", "websockets")
"""Packages of the extra `serve`."""


def play(
    run: Annotated[Path, "RUN"],
    /,
    port: int = 8001,
    steps: int = 4,
    context_time: float = 0.05,
    fps: float = 30.0,
    keys: str = "",
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Play in a world that a model has learned: a page on this machine whose keys move the dream.

    Args:
        run: Run folder of a world model.
        port: Port to listen on, of this machine only.
        steps: Sampling steps of a frame.
        context_time: Time at which known frames stand; small.
        fps: Most frames per second.
        keys: Key of each action with commas, by its name in browsers; an empty one is for no key. Default: arrows.
        seed: Seed of what is left to chance.
        device: Where to compute: auto, cpu or cuda.

    Raises:
        UsageError: If the run is no world model, packages are missing, or there are not as many keys as actions.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UsageError(
            f"playing without {', '.join(missing)}", "the packages of the server", "pip install 'unmelt[serve]'"
        )
    if fps <= 0:
        raise UsageError(f"--fps {fps}", "frames per second, above 0", "--fps 30")
    import uvicorn

    from unmelt.interop.load_model import load_model
    from unmelt.model import Model, World
    from unmelt.serve.play import application

    model = load_model(run, device)
    if not isinstance(model, Model):
        raise UsageError(f"{run}, which is no world model", "a run of the recipe world", "unmelt play runs/world")

    def make(visitor: int) -> World:
        return World(model, steps=steps, context_time=context_time, seed=seed + visitor)

    warm = make(0)
    chosen = tuple(keys.split(",")) if keys else ()
    if chosen and len(chosen) != warm.actions:
        raise UsageError(
            f"{len(chosen)} keys for {warm.actions} actions",
            "a key for each, with commas",
            "--keys ArrowLeft,,ArrowRight",
        )
    warm.reset()
    warm.step(0)
    notify(f"playing {run} at http://127.0.0.1:{port}/", "Ctrl-C ends it")
    uvicorn.run(application(make, fps, chosen), host="127.0.0.1", port=port, log_level="warning")
