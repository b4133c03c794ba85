"""Hidden states on disk, by model and caption: a caption is read by the language model once, in whatever run.

One SQLite file in the cache, which several processes may use. States are kept as they
are, in float32.
"""

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.cache_folder import cache_folder
from unmelt.errors import UsageError

FILE, WAIT = "captions.sqlite", 60.0
"""Name of the file, and the seconds that a process waits for another one that writes."""

AT_ONCE = 500
"""Captions that are asked for in one query; SQLite has a limit."""


@final
class StateCache:
    """The states of one encoder.

    Args:
        owner: What tells this encoder from others: model, layers and length.
        width: Features of each token.
    """

    def __init__(self, owner: str, width: int) -> None:
        self.owner, self.width = owner, width
        self.path = cache_folder() / FILE

    def read(self, captions: Sequence[str]) -> dict[str, Float[Tensor, "tokens width"]]:
        """Look captions up.

        Args:
            captions: The captions.

        Returns:
            The states of those that are known.

        Raises:
            UsageError: If the cache is damaged.
        """
        if not self.path.exists():
            return {}
        keys = {self._key(caption): caption for caption in captions}
        found: dict[str, Tensor] = {}
        try:
            with closing(self._opened()) as file:
                for start in range(0, len(keys), AT_ONCE):
                    some = list(keys)[start : start + AT_ONCE]
                    query = f"SELECT key, states FROM captions WHERE key IN ({', '.join('?' * len(some))})"
                    for key, states in file.execute(query, some):
                        numbers = np.frombuffer(states, np.float32).reshape(-1, self.width)
                        found[keys[key]] = torch.from_numpy(numbers.copy())
        except (sqlite3.DatabaseError, ValueError) as error:
            raise UsageError(
                f"the cache of captions {self.path} is damaged ({error})",
                "a whole file, or none: it is made again",
                f"rm {self.path}",
            ) from None
        return found

    def write(self, states: Mapping[str, Float[Tensor, "tokens width"]]) -> None:
        """Keep the states of captions.

        Args:
            states: By caption.

        Raises:
            UsageError: If the cache cannot be written to.
        """
        rows = [(self._key(caption), value.numpy().tobytes()) for caption, value in states.items()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._opened()) as file, file:
                file.executemany("INSERT OR REPLACE INTO captions VALUES (?, ?)", rows)
        except (OSError, sqlite3.OperationalError) as error:
            raise UsageError(
                f"the cache of captions {self.path} cannot be written ({error})",
                "a folder with room for them",
                "UNMELT_CACHE=another/folder unmelt ...",
            ) from None

    def _key(self, caption: str) -> str:
        return hashlib.sha256(f"{self.owner}\n{caption}".encode("utf-8", "surrogatepass")).hexdigest()

    def _opened(self) -> sqlite3.Connection:
        file = sqlite3.connect(self.path, timeout=WAIT)
        file.execute("CREATE TABLE IF NOT EXISTS captions (key TEXT PRIMARY KEY, states BLOB NOT NULL) WITHOUT ROWID")
        return file
