"""`unmelt serve`: models over HTTP, for clients of OpenAI's API."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from unmelt.errors import UsageError
from unmelt.terminal import notify

NEEDED = ("fastapi", "multipart", "uvicorn")
"""Packages of the extra `serve`."""


def serve(
    folders: Annotated[tuple[Path, ...], "RUN"],
    /,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str = "",
    batch: int = 32,
    rows: int = 512,
    queue: int = 4096,
    samples: int = 10,
    steps: int = 250,
    seconds: float = 300.0,
    deterministic: bool = False,
    drafter: str = "",
    device: str = "auto",
    ray: bool = False,
    replicas: int = 1,
    most_replicas: int = 0,
) -> None:
    """Serve models over HTTP, for clients of OpenAI's API: pictures, edits, completions of text, and speech.

    Clients name a model by the last part of its folder. Rows of different requests are advanced together.

    Args:
        folders: Run folders, or names of models that come with unmelt.
        host: Address to listen on. The default accepts connections from this machine only; any other needs a key.
        port: Port to listen on.
        api_key: Key that clients must send. Default: UNMELT_API_KEY.
        batch: Rows of a network call.
        rows: Rows in flight, whose states are in memory.
        queue: Rows that wait for room; more are refused with status 429.
        samples: Largest n of a request.
        steps: Largest number of steps.
        seconds: Longest time that a request may take.
        deterministic: Rows are the same bit for bit whatever shares their batches.
        drafter: Who drafts for autoregressive models, which verify: lookup, or the run folder of a masked model with
            the same tokenizer. Text has the same law, in fewer network calls. Empty for nobody.
        device: Where to compute: auto, cpu or cuda.
        ray: Serve with Ray Serve, in the Ray cluster that is there or on this machine.
        replicas: With Ray, servers behind the one address.
        most_replicas: With Ray, up to so many while they are busy; 0 for no more than `replicas`.

    Raises:
        UsageError: If no folder is given, two have one name, or an address other than this machine's has no key.
    """
    if not folders:
        raise UsageError("no model to serve", "one run folder or more", "unmelt serve runs/faces")
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        needed = "the packages of the server"
        raise UsageError(
            f"serving without {', '.join(missing)}", needed, f"pip install 'unmelt[{'ray' if ray else 'serve'}]'"
        )
    if ray and find_spec("ray") is None:
        raise UsageError("--ray without ray", "the packages of Ray Serve", "pip install 'unmelt[ray]'")
    if not ray and (replicas != 1 or most_replicas):
        raise UsageError("several replicas without Ray", "Ray Serve, which divides requests among them", "--ray")
    if ray and drafter:
        raise UsageError("--drafter with --ray", "one of them", "--drafter lookup")
    from unmelt.serve import EngineLimits, ServerSettings
    from unmelt.serve.loopback import is_loopback

    key, local = api_key or os.environ.get("UNMELT_API_KEY", ""), is_loopback(host)
    if not local and not key:
        raise UsageError(f"--host {host} without a key", "a key that clients must send", "--api-key SECRET")
    limits = EngineLimits(batch=batch, rows=rows, queue=queue)
    given: Any = {"api_key": key, "samples": samples, "steps": steps, "seconds": seconds}
    settings = ServerSettings(engine=limits, deterministic=deterministic, **given)
    places = _named(folders)
    if ray:
        from unmelt.serve import replicas as with_ray

        given = {"replicas": (replicas, most_replicas or replicas), "local_only": local, "device": device}
        notify(f"serving {', '.join(places)} with Ray at http://{host}:{port}/v1", "Ctrl-C ends it")
        with_ray.run(_absolute(places), settings, host=host, port=port, **given)
        return
    import uvicorn

    from unmelt.interop.load_model import load_model
    from unmelt.serve.app import application

    models: Any = {name: load_model(folder, device) for name, folder in places.items()}
    if drafter:
        _draft_for(models, drafter, device)
    notify(f"serving {', '.join(models)} at http://{host}:{port}/v1", "Ctrl-C ends it")
    uvicorn.run(application(models, settings, local_only=local), host=host, port=port, log_level="warning")


def _named(folders: tuple[Path, ...]) -> dict[str, Path]:
    """Folders by the names that clients use. Their descriptions are read, and no weights: Ray's replicas load those."""
    from unmelt.cli.runs import check_generative
    from unmelt.interop.load_model import kind_of

    places: dict[str, Path] = {}
    for folder in folders:
        name = folder.absolute().name
        if name in places:
            raise UsageError(f"two models called {name!r}", "folders of different names", f"mv {folder} {folder}-2")
        check_generative(folder, kind_of(folder))
        places[name] = folder
    return places


def _draft_for(models: dict[str, Any], drafter: str, device: str) -> None:
    """Let autoregressive models verify what a drafter proposes."""
    from unmelt.cli.runs import text_drafter
    from unmelt.denoiser import Autoregressive
    from unmelt.drafting import SpeculativeSampler

    causal = [each for each in models.values() if isinstance(each.denoiser, Autoregressive)]
    if not causal:
        given = f"--drafter {drafter} for {', '.join(models)}"
        raise UsageError(
            given, "an autoregressive model of text among them", "unmelt serve runs/code_ar --drafter lookup"
        )
    for model in causal:
        end = model.tokenizer.special("end")
        model.sampler = SpeculativeSampler(text_drafter(drafter, model, device), end_token=end)


def _absolute(places: dict[str, Path]) -> dict[str, Path]:
    """The same folders wherever they are read from; names of models that come with unmelt stay as they are."""
    return {name: place.absolute() if place.exists() else place for name, place in places.items()}
