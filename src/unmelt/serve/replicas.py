"""Several servers of the same models behind one address, by Ray Serve: replicas on one machine or on many.

Each replica is the application of `app` with its own models and engine. Ray divides requests among them, replaces those
that die, and with a range of replicas starts and ends them by how many requests each has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unmelt.errors import UsageError
from unmelt.serve.settings import ServerSettings

NAME = "unmelt"
"""Of the application in Ray Serve."""

BUSY = 8
"""Requests that a replica has at a time, on average, before another one is started."""


def deploy(
    folders: Mapping[str, Path],
    settings: ServerSettings = ServerSettings(),
    *,
    replicas: tuple[int, int] = (1, 1),
    host: str = "127.0.0.1",
    port: int = 8000,
    local_only: bool = True,
    device: str = "auto",
) -> None:
    """Start replicas, in a Ray cluster that is there or in one on this machine, and return once they answer.

    Args:
        folders: Run folders by the names that clients use; every machine of the cluster must have them.
        settings: What clients may ask for.
        replicas: Least and largest number of replicas.
        host: Address to listen on.
        port: Port to listen on.
        local_only: Whether it answers only to names of this machine.
        device: Where replicas compute: auto, cpu or cuda. Each takes a GPU of its own where it may and Ray has some.

    Raises:
        UsageError: If the numbers of replicas make no range, or no replica can be started.
    """
    import ray
    from ray import serve

    least, most = replicas
    if not 1 <= least <= most:
        raise UsageError(f"replicas={replicas}", "a least and a largest number of at least 1", "replicas=(1, 4)")
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    serve.start(http_options={"host": host, "port": port}, logging_config={"log_level": "ERROR"})
    gpus = 1 if device != "cpu" and ray.cluster_resources().get("GPU", 0) else 0
    scaling: dict[str, Any] = {"num_replicas": least}
    if most > least:
        limits = {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": BUSY}
        scaling = {"autoscaling_config": limits}

    class Replica:
        """An application of its own."""

    made = serve.ingress(_builder(dict(folders), settings, local_only, device))(Replica)
    resources = {"num_cpus": 1, "num_gpus": gpus}
    waiting = settings.engine.rows + settings.engine.queue  # the engine itself refuses what is too much
    deployment = serve.deployment(
        made, name="Replica", max_ongoing_requests=waiting, ray_actor_options=resources, **scaling
    )
    try:
        serve.run(deployment.bind(), name=NAME, route_prefix="/")
    except RuntimeError:  # which says no more than that it failed
        said = serve.status().applications[NAME].deployments["Replica"].message.strip().splitlines()
        serve.shutdown()
        raise UsageError(
            f"replicas that do not start: {said[-1] if said else 'Ray does not say why'}",
            "models that load, on every machine of the cluster",
            'um.load("runs/faces").sample(1)',
        ) from None


def run(folders: Mapping[str, Path], settings: ServerSettings, **where: Any) -> None:
    """Start replicas and let them serve until this process is interrupted.

    Args:
        folders: As for `deploy`, like all that follow.
        settings: What clients may ask for.
        **where: The other arguments.
    """
    import ray
    from ray import serve

    deploy(folders, settings, **where)
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        pass
    finally:
        serve.shutdown()
        ray.shutdown()


def _builder(folders: dict[str, Path], settings: ServerSettings, local_only: bool, device: str) -> Callable[[], Any]:
    """What makes the application within a replica."""

    def build() -> Any:
        from unmelt.interop.load_model import load_model
        from unmelt.serve.app import application

        models: Any = {name: load_model(folder, device) for name, folder in folders.items()}
        return application(models, settings, local_only=local_only)

    return build
