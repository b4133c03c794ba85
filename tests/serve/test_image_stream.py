"""Pictures on the way: which of the states that a slow client is given are shown."""

import json

import pytest
import torch
from running import in_own_loop

import unmelt as um
from unmelt.model.request import SampleRequest

pytest.importorskip("fastapi")
from unmelt.serve.image_stream import picture_stream


class Given:
    """A service that hands out these states and then the rows."""

    def __init__(self, states):
        self.given = states

    async def states(self, client, model, request):
        for state in self.given:
            yield state


def shown(service, model, request, pictures):
    async def read():
        asked = {"kind": "image_generation", "pictures": pictures, "partial": "noisy"}
        response = await picture_stream(service, None, model, request, **asked)
        return [json.loads(event.split("data: ")[1]) async for event in response.body_iterator]

    return in_own_loop(read())


def test_the_finished_picture_is_never_shown_as_one_on_the_way():
    model = um.load("digits", "cpu")
    request = SampleRequest(rows=1, steps=3, seed=4)
    states = list(model.states(request))[1:]
    rows = model.sample(1, steps=3, seed=4)
    for seen, partial in (([0, 1, 2], 2), ([1, 2], 1), ([2], 0), ([], 0)):
        events = shown(Given([states[place] for place in seen] + [rows]), model, request, pictures=50)
        assert [event["type"].rsplit(".")[-1] for event in events] == ["partial_image"] * partial + ["completed"]
        assert all(event["b64_json"] != events[-1]["b64_json"] for event in events[:-1])
    assert torch.equal(states[-1].t, torch.zeros(1, dtype=states[-1].t.dtype))
