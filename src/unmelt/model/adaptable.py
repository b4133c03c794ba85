"""A model's adapters: added, saved apart, loaded, merged into the weights, and chosen by each row."""

from __future__ import annotations

import json
import re
from abc import ABC
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt import config as parts
from unmelt import run_folder
from unmelt.adapter import AdaptedDenoiser, Adapter, Attachment, LoRA
from unmelt.arguments import checked
from unmelt.denoiser import Denoiser
from unmelt.errors import UsageError, nearest
from unmelt.model.stored_model import StoredModel
from unmelt.rng import seeded
from unmelt.train.atomic_files import checksum, read_tensors, write_json, write_tensors

CONFIG, WEIGHTS = "adapter.json", "adapter.safetensors"
MOST_BYTES = 1 << 20


class AdaptableModel(StoredModel, ABC):
    """A model with adapters; its arguments are those of `StoredModel`."""

    @final
    @checked("model.add_adapter")
    def add_adapter(self, name: str, config: LoRA, seed: int = 0) -> Adapter:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageError(
                f"an adapter called {name!r}", "letters, digits and underscores", 'add_adapter("style", ...)'
            )
        if name in self.adapters:
            raise UsageError(f"a second adapter called {name!r}", "a name of its own", f'add_adapter("{name}_2", ...)')
        with seeded(seed):
            adapter = Adapter(self.denoiser.backbone, config)
        adapter.eval().to(self.device)
        self.adapters[name] = adapter
        self._attachments[name] = adapter.attach(self.denoiser.backbone, scale=0.0)
        return adapter

    @property
    def _attachments(self) -> dict[str, Attachment]:
        """Each adapter at work in the network, at scale 0 until a row asks for it."""
        return self.__dict__.setdefault("_attached", {})

    @final
    def remove_adapter(self, name: str) -> None:
        """Take an adapter out of the model, which is then bit for bit what it was without.

        Args:
            name: Name of the adapter.

        Raises:
            UsageError: If there is none of this name.
        """
        self._check_adapter(name)
        self._attachments.pop(name).detach()
        del self.adapters[name]
        if self.active_adapter == name:
            self.active_adapter = None

    @final
    def merge_adapter(self, name: str) -> None:
        """Add an adapter's change to the model's weights for good, and remove it as an adapter.

        Args:
            name: Name of the adapter.

        Raises:
            UsageError: If there is none of this name.
        """
        adapter = self.adapters[self._check_adapter(name)]
        self.remove_adapter(name)
        adapter.merge(self.denoiser.backbone)
        self.tuned = ()  # they were learned for weights that are no longer there

    @final
    @checked("model.save_adapter")
    def save_adapter(self, name: str, folder: str | Path) -> None:
        """Write an adapter alone: adapter.json and adapter.safetensors.

        Args:
            name: Name of the adapter.
            folder: Where they go.

        Raises:
            UsageError: If there is no such adapter, or the folder cannot be written to.
        """
        adapter, folder = self.adapters[self._check_adapter(name)], Path(folder)
        run_folder.prepare(folder)
        tensors = dict(adapter.state_dict())
        write_tensors(folder / WEIGHTS, tensors)
        write_json(
            folder / CONFIG, {"name": name, "config": parts.describe(adapter.config), "checksum": checksum(tensors)}
        )

    @final
    @checked("model.load_adapter")
    def load_adapter(self, folder: str | Path, name: str | None = None) -> Adapter:
        """Add an adapter that `save_adapter` wrote, for this model or one of the same architecture.

        Args:
            folder: Where it is.
            name: Name of the adapter in this model. None: the name it was saved under.

        Returns:
            The adapter.

        Raises:
            UsageError: If the folder is damaged, or the adapter does not fit this network.
        """
        folder = Path(folder)
        about = _read(folder / CONFIG)
        tensors, _ = read_tensors(folder / WEIGHTS)
        config = parts.build(about.get("config"))
        if not isinstance(config, LoRA) or about.get("checksum") != checksum(tensors):
            raise UsageError(f"{folder} holds no whole adapter", "what save_adapter wrote", "a copy of it")
        name = str(about.get("name")) if name is None else name
        adapter = self.add_adapter(name, config)
        try:
            adapter.load_state_dict(tensors)
        except RuntimeError as error:
            self.remove_adapter(name)
            raise UsageError(
                f"the adapter in {folder} does not fit this network ({str(error).splitlines()[0]})",
                "a model of the architecture that it was trained on",
                "another model",
            ) from None
        return adapter

    @final
    def adapter_indices(self, rows: int, adapter: str | Sequence[str | None] | None) -> Int64[Tensor, " rows"] | None:
        """The number of each row's adapter, as `Condition.adapter` has it.

        Args:
            rows: How many rows.
            adapter: An adapter's name for all rows, or a name or None for each.

        Returns:
            [rows], -1 for none; None where no row has one.

        Raises:
            UsageError: If there is no adapter of this name, or the number of names is not that of rows.
        """
        if adapter is None:
            return None
        names = [adapter] * rows if isinstance(adapter, str) else list(adapter)
        if len(names) != rows:
            raise UsageError(f"{len(names)} adapters for {rows} rows", "one, or one for each row", 'adapter="style"')
        order = list(self.adapters)
        return torch.tensor([-1 if each is None else order.index(self._check_adapter(each)) for each in names])

    @final
    def with_adapters(self, denoiser: Any) -> Denoiser:
        """A denoiser of this model in which rows choose adapters by their condition.

        Args:
            denoiser: One that calls the model's network.

        Returns:
            The denoiser itself where the model has no adapters.
        """
        return AdaptedDenoiser(denoiser, list(self._attachments.values())) if self.adapters else denoiser

    @final
    @contextmanager
    def active_adapter_on(self) -> Iterator[None]:
        """Inside, calls of the model's denoiser itself compute with the active adapter, as its samples do."""
        attachment = None if self.active_adapter is None else self._attachments[self.active_adapter]
        if attachment is None:
            yield
            return
        attachment.scale = 1.0
        try:
            yield
        finally:
            attachment.scale = 0.0

    def _check_adapter(self, name: str) -> str:
        if name not in self.adapters:
            known = ", ".join(map(repr, self.adapters)) or "none; add_adapter or load_adapter adds one"
            instead = f"adapter={nearest(name, self.adapters)!r}" if self.adapters else 'load_adapter("folder")'
            raise UsageError(f"an adapter called {name!r}", f"one of the model's adapters: {known}", instead)
        return name


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        about = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error})", "what save_adapter wrote", "a copy of it") from None
    if not isinstance(about, dict):
        raise UsageError(f"{path} holds no adapter", "what save_adapter wrote", "a copy of it")
    return about
