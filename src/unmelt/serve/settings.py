"""What a server lets clients ask for."""

from dataclasses import dataclass
from typing import final

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.serve.engine import EngineLimits


@final
@checked_init("um.serve.ServerSettings")
@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Limits of a server.

    Args:
        api_key: Key that clients must send; empty for none.
        engine: How much the engine takes on.
        deterministic: Whether rows are the same bit for bit whatever shares their batches; see `Engine`.
        samples: Largest n of a request.
        steps: Largest number of steps.
        prompt: Characters of the longest prompt, and of the longest text to be said.
        body: Bytes of the largest body.
        seconds: Longest time that a request may take; of speech, a sentence of it.

    Raises:
        UsageError: If a limit is below 1.
    """

    api_key: str = ""
    engine: EngineLimits = EngineLimits()
    deterministic: bool = False
    samples: int = 10
    steps: int = 250
    prompt: int = 4000
    body: int = 2**24
    seconds: float = 300.0

    def __post_init__(self) -> None:
        least = min(self.samples, self.steps, self.prompt, self.body, self.seconds)
        if least < 1:
            raise UsageError(f"a limit of {least}", "limits of at least 1", "ServerSettings()")
