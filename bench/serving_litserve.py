"""The models of bench/serving_servers.py behind LitServe, which collects requests in batches of up to 32."""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import litserve
import torch
from serving_servers import BATCH, answers, kind, loaded


class API(litserve.LitAPI):
    """Samples together what of a batch `model.sample` can; a worker process makes its own models."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=0.005)
        self.names = list(names)

    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        self.models = {name: loaded(name) for name in self.names}

    def predict(self, x: Any) -> Any:
        groups = defaultdict(list)
        for place, body in enumerate(x):
            groups[kind(body)].append(place)
        made: list[Any] = [None] * len(x)
        for places in groups.values():
            for place, answer in zip(places, answers(self.models, [x[each] for each in places]), strict=True):
                made[place] = answer
        return made


def run(options: argparse.Namespace) -> None:
    server = litserve.LitServer(API(options.models), accelerator="cpu", timeout=False)
    server.run(port=options.port, host="127.0.0.1", num_api_servers=1, log_level="error", generate_client_file=False)
