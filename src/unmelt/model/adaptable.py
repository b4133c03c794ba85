"""A model's adapters: added, saved separately, loaded, merged into the weights, and chosen by each row."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt import config as parts
from unmelt import run_folder
from unmelt.adapter import AdaptedDenoiser, Adapter, Attachment, LoRA
from unmelt.adapter.dialect import config_of
from unmelt.adapter.dialect.layer_change import fill, stacked
from unmelt.arguments import checked
from unmelt.denoiser import Denoiser
from unmelt.errors import UsageError, nearest
from unmelt.model.adapter_files import Layout, check_size, read_changes, read_settings, write_adapter
from unmelt.model.stored_model import StoredModel
from unmelt.rng import seeded
from unmelt.train.atomic_files import checksum, read_tensors, write_json, write_tensors

CONFIG, WEIGHTS = "adapter.json", "adapter.safetensors"


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
    def merge_adapter(self, name: str, scale: float = 1.0) -> None:
        """Add an adapter's change to the model's weights for good, and remove it as an adapter.

        Args:
            name: Name of the adapter.
            scale: How much of the change is added.

        Raises:
            UsageError: If there is none of this name.
        """
        adapter = self.adapters[self._check_adapter(name)]
        self.remove_adapter(name)
        adapter.merge(self.denoiser.backbone, scale)
        self.tuned = ()  # they were learned for weights that are no longer there

    @final
    @checked("model.combine_adapters")
    def combine_adapters(self, name: str, scales: Mapping[str, float]) -> Adapter:
        """Add an adapter that is the weighted sum of others, which samples then select by its own name.

        The sum of changes of ranks r and s has rank r + s and is exact.

        Args:
            name: Name of the new adapter.
            scales: How much of each adapter, by name.

        Returns:
            The new adapter.

        Raises:
            UsageError: If one of them does not exist or decomposes, whose change is not of low rank; or the new name is
                taken.
        """
        if not scales:
            raise UsageError("no adapters", "some to combine", 'combine_adapters("both", {"a": 0.7, "b": 0.5})')
        for each in scales:
            if self.adapters[self._check_adapter(each)].config.decompose:
                raise UsageError(
                    f"the adapter {each!r}, which decomposes and so has no change of low rank",
                    "adapters that do not decompose",
                    f"model.merge_adapter({each!r})",
                )
        changes = stacked([(self.adapters[each], scale) for each, scale in scales.items()])
        adapter = self.add_adapter(name, config_of(changes))
        fill(adapter, changes)
        return adapter

    @final
    @checked("model.save_adapter")
    def save_adapter(self, name: str, folder: str | Path, layout: Layout = "unmelt") -> None:
        """Write an adapter alone.

        Args:
            name: Name of the adapter.
            folder: Where it goes.
            layout: "unmelt" for adapter.json and adapter.safetensors; "peft" for adapter_config.json and
                adapter_model.safetensors, which peft's PeftModel loads; "diffusers" for
                pytorch_lora_weights.safetensors, which `load_lora_weights` loads.

        Raises:
            UsageError: If there is no such adapter, the folder cannot be written to, or the other library has no such
                adapters.
        """
        adapter, folder = self.adapters[self._check_adapter(name)], Path(folder)
        if layout != "unmelt":
            write_adapter(adapter, self.denoiser.backbone, folder, layout)
            return
        run_folder.prepare(folder)
        tensors = dict(adapter.state_dict())
        write_tensors(folder / WEIGHTS, tensors)
        write_json(
            folder / CONFIG, {"name": name, "config": parts.describe(adapter.config), "checksum": checksum(tensors)}
        )

    @final
    @checked("model.load_adapter")
    def load_adapter(
        self,
        path: str | Path,
        name: str | None = None,
        *,
        scale: float | None = None,
        ignore_text_encoders: bool = False,
    ) -> Adapter:
        """Add an adapter from its files: one that `save_adapter` wrote, or one of another tool.

        The dialect is recognised by the names in the file: diffusers, peft, kohya (and LyCORIS), ai-toolkit,
        OneTrainer, or the original names of Flux. All of the file is loaded, or nothing.

        Args:
            path: A folder that `save_adapter` wrote, a .safetensors file of another tool, or a folder that holds one.
            name: Name for the adapter here. None: the one it was saved under, or the file's.
            scale: How much of its change is applied wherever it is used. None: as it was saved, all of it.
            ignore_text_encoders: Whether to leave out what a file of another tool has for text encoders, which cannot
                be adapted here. Otherwise such a file is refused.

        Returns:
            The adapter.

        Raises:
            UsageError: If it is damaged, no safetensors, of an unknown dialect or another method than LoRA and DoRA, or
                does not fit this network; names the first keys at fault.
        """
        path = Path(path)
        if (path / CONFIG).is_file():
            return self._load_own(path, name, scale)
        changes = read_changes(path, self.denoiser.backbone, ignore_text_encoders=ignore_text_encoders)
        config = config_of(changes, 1.0 if scale is None else scale)
        if name is None:
            stem = re.sub(r"\W", "_", path.stem)
            name = stem if re.match(r"[A-Za-z_]", stem) else f"adapter_{stem}"
        adapter = self.add_adapter(name, config)
        fill(adapter, changes)
        return adapter

    def _load_own(self, folder: Path, name: str | None, scale: float | None) -> Adapter:
        about = read_settings(folder / CONFIG)
        if (folder / WEIGHTS).is_file():
            check_size(folder / WEIGHTS, self.denoiser.backbone)
        tensors, _ = read_tensors(folder / WEIGHTS)
        if odd := [key for key, value in tensors.items() if not value.isfinite().all()]:
            raise UsageError(
                f"{folder} with numbers in {odd[0]!r} that are not finite", "finite numbers", "a copy of it"
            )
        config = parts.build(about.get("config"))
        if not isinstance(config, LoRA) or about.get("checksum") != checksum(tensors):
            raise UsageError(f"{folder} holds no whole adapter", "what save_adapter wrote", "a copy of it")
        name = str(about.get("name")) if name is None else name
        adapter = self.add_adapter(name, config if scale is None else replace(config, scale=scale))
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
