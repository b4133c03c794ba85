"""A request that is too large is refused, whether it says so or not."""

import pytest
from running import in_own_loop

from unmelt.serve.body_limit import MOST_BYTES, BodyLimit


def sent(parts, headers=(), most=100):
    """(status, bytes that were taken in) of a request whose body comes in parts."""
    left, said, taken = list(parts), [], []

    async def receive():
        part = left.pop(0)
        taken.append(len(part))
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def send(message):
        said.append(message)

    async def app(scope, receive, send):
        message = {"more_body": True}
        try:
            while message["more_body"]:
                message = await receive()
        finally:
            await send({"type": "http.response.start", "status": 200, "headers": []})

    scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}
    in_own_loop(BodyLimit(app, most)(scope, receive, send))
    (start,) = (message for message in said if message["type"] == "http.response.start")
    return start["status"], sum(taken)


def test_a_body_up_to_the_limit_is_passed_on():
    assert sent([b"x" * 50, b"x" * 50]) == (200, 100)
    assert sent([b""]) == (200, 0)


@pytest.mark.parametrize("said", [b"101", b"200000000", b"9" * 50, b"-1", b"x"])
def test_a_length_above_the_limit_is_refused_before_anything_is_taken_in(said):
    assert sent([b"x" * 1000], [(b"Content-Length", said)]) == (413, 0)


def test_a_body_of_unsaid_length_is_refused_when_it_passes_the_limit():
    assert sent([b"x" * 60] * 1000) == (413, 120)


def test_an_upload_of_200_megabytes_is_above_the_limit():
    assert MOST_BYTES < 200 * 10**6 / 10
