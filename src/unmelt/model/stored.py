"""What is saved to a run folder, loaded and shared: named parts, some of which have weights.

A class derived from `Stored` says which parts it has, which of them have weights, and how it is made of them.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, final

import torch
from torch import nn

from unmelt import card, config, hub, run_folder
from unmelt.arguments import checked
from unmelt.arguments.methods import NotANetwork
from unmelt.codec import Codec
from unmelt.data import Source
from unmelt.device import device_named
from unmelt.errors import UsageError
from unmelt.modality import Modality
from unmelt.train import Training, distributed

S = TypeVar("S", bound="Stored")


class TrainingData(NamedTuple):
    """What training reads.

    Args:
        source: The training data.
        held_out: Held-out data; None for none.
        codec: The codec that batches go through; None where the source gives what the network sees.
    """

    source: Source
    held_out: Source | None
    codec: Codec | None


class Stored(NotANetwork, ABC):
    """Parts that are trained together and kept in a run folder.

    Attributes:
        modality: How data are shown, scored and written to disk.
        training: Steps, batch, learning rate and so on.
        source: The training data.
        held_out: Held-out data, for evaluation.
        origin: Name and settings of the recipe that made it.
        notes: Notes on how the data were read, such as files that were skipped.
        classes: Names of the labels; empty where there are none.
        folder: Its run folder; None if it has none.
        steps_done: Training steps that it has taken.
        run: Identifier of its run, which checkpoints and snapshots carry; "" before training and in version 0.1.0.
        data: Identities of the training data and the held-out data of its run (`data.identity`); None if unknown.
    """

    PARTS: ClassVar[tuple[str, ...]]
    """Attributes that a run folder describes."""

    REQUIRED: ClassVar[tuple[str, ...]]
    """Those of them that no run folder lacks."""

    MAIN: ClassVar[str]
    """The module whose weights are averaged while it is trained."""

    modality: Modality
    training: Training | None
    source: Source | None
    held_out: Source | None
    origin: dict[str, Any]
    notes: str
    classes: tuple[str, ...]
    folder: Path | None
    steps_done: int
    run: str
    data: dict[str, Any] | None

    @abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """The parts that have weights, by name, the main one first."""

    @classmethod
    @abstractmethod
    def of_parts(cls: type[S], parts: Mapping[str, Any], about: Mapping[str, Any], folder: Path) -> S:
        """Make one of what a run folder describes; its weights are loaded afterwards.

        Args:
            parts: The parts by name; None where the folder has none.
            about: The content of config.json.
            folder: The run folder.

        Returns:
            The object.

        Raises:
            TypeError: If a part is not of its kind, as for other errors that a damaged description leads to.
        """

    def about(self) -> dict[str, Any]:
        """What else than parts and training a run folder says of it."""
        return {}

    def keep_fitted(self, about: Mapping[str, Any]) -> None:
        """Take over what was fitted after a finished run, which resuming it would lose.

        Args:
            about: The content of the run's config.json.
        """

    @abstractmethod
    def training_data(self, device: torch.device) -> TrainingData:
        """What training reads.

        Args:
            device: Where it computes.

        Returns:
            Training data, held-out data, and the codec that batches go through.
        """

    @abstractmethod
    def save_preview(self, path: Path | None) -> Path | None:
        """Write a few results as a picture (.png), or as text (.txt).

        Args:
            path: Where they go, without suffix; None writes nothing, but makes them all the same (under torchrun every
                process must take part).

        Returns:
            The file that was written.
        """

    @final
    def main_module(self) -> nn.Module:
        """The module whose weights are averaged while it is trained."""
        return self.modules()[self.MAIN]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.main_module().parameters()).device

    @final
    @checked("model.to")
    def to(self: S, device: str | torch.device) -> S:
        """Move all weights to a device.

        Args:
            device: "cpu", "cuda", "cuda:1", or "auto" for a GPU where there is one.

        Returns:
            The object itself.

        Raises:
            UsageError: If there is no such device.
        """
        for module in self.modules().values():
            module.to(device_named(device))
        return self

    @final
    def describe(self) -> dict[str, Any]:
        """Everything there is to say about it in JSON: its origin, its parts, how far it was trained."""
        return {
            "facade": type(self).__name__,
            "main": self.MAIN,
            "origin": self.origin,
            "notes": self.notes,
            "classes": list(self.classes),
            "steps_done": self.steps_done,
            "run": self.run,
            "data": self.data,
            "parameters": sum(p.numel() for p in self.main_module().parameters()),
            "model": {name: config.describe(getattr(self, name)) for name in self.PARTS},
            **self.about(),
        }

    @final
    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """The tensors of each module, by the module's name; whole, whatever they are spread over."""
        return {
            name: {key: distributed.full_tensor(value) for key, value in module.state_dict().items()}
            for name, module in self.modules().items()
        }

    @final
    @checked("model.save")
    def save(self, folder: str | Path) -> None:
        """Write a run folder, from which `um.load` builds the model again without its data.

        Args:
            folder: The run folder to write.

        Raises:
            UsageError: If the folder cannot be written to, or a part cannot be described.
        """
        weights = self.weights()
        if distributed.rank() == 0:
            run_folder.write_run(Path(folder), self.describe(), weights)

    @final
    @classmethod
    def load(cls: type[S], folder: str | Path, device: str | torch.device = "auto") -> S:
        """Load what is in a run folder.

        Args:
            folder: A folder that training or `save` wrote.
            device: The device for the weights; "auto" is a GPU where there is one.

        Returns:
            The object, without training data.

        Raises:
            UsageError: If the folder is damaged, of another kind, or not a run folder.
        """
        about, weights = run_folder.read_run(Path(folder))
        if about["facade"] != cls.__name__:
            raise UsageError(
                f"{folder}, which holds a {about['facade']}", f"a run of a {cls.__name__}", f"um.load({str(folder)!r})"
            )
        try:
            parts = {name: config.build(about["model"][name]) for name in cls.REQUIRED}
            parts |= {name: config.build(about["model"].get(name)) for name in set(cls.PARTS) - set(cls.REQUIRED)}
            made = cls.of_parts(parts, about, Path(folder))
        except UsageError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise UsageError(
                f"{folder} does not describe a model of this kind ({error!r})",
                "a folder that training wrote",
                f"um.load({str(folder)!r}), a copy of it, or training again",
            ) from None
        made.steps_done, made.run, made.data = about["steps_done"], about.get("run", ""), about.get("data")
        for name, module in made.modules().items():
            run_folder.load_weights(Path(folder), name, module, weights.get(name, {}))
        return made.to(device)

    @final
    @checked("model.save_pretrained")
    def save_pretrained(
        self,
        folder: str | Path,
        *,
        license: str | None = None,
        name: str | None = None,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        """`save`, fit to be shared: with a model card, scores and a picture, and without paths of this machine.

        Args:
            folder: Where it goes; not the run's own folder.
            license: License of the weights, by its short name. None: that of an earlier card, else "unknown".
            name: The name to load it by, for the card. None: the folder's name.
            dtype: Of the weights of matrices and convolutions. "bfloat16" halves the file and rounds them to 8 bits.

        Raises:
            UsageError: If the folder is the run's own, or the licence is not a name.
        """
        card.check_license(license)
        folder = Path(folder)
        if self.folder is not None and folder.resolve() == self.folder.resolve():
            raise UsageError(f"{folder}, the run's own folder", "a folder to share", f"{folder}-shared")
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent) as temporary:  # all of it is there, or nothing
            made = Path(temporary)
            run_folder.write_run(made, hub.public(self.describe()), self._shared_weights(dtype))
            card.finish(made, folder, self.folder, name, license)
            run_folder.prepare(folder)
            for path in made.iterdir():
                path.replace(folder / path.name)

    def _shared_weights(self, dtype: str) -> dict[str, dict[str, torch.Tensor]]:
        """All tensors, with the parameters of matrices and convolutions in a type; buffers and vectors stay exact."""
        weights = self.weights()
        if dtype == "bfloat16":
            for name, module in self.modules().items():
                for key, parameter in module.named_parameters():
                    if parameter.dtype == torch.float32 and parameter.ndim > 1:
                        weights[name][key] = weights[name][key].bfloat16()
        return weights

    @final
    @classmethod
    def from_pretrained(
        cls: type[S],
        name_or_folder: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        device: str | torch.device = "auto",
    ) -> S:
        """The model in a folder, or else the one that the Hub has under this name.

        Args:
            name_or_folder: A folder, or owner/name on the Hub.
            revision: Branch, tag or commit on the Hub.
            token: For private or gated models.
            cache_dir: Where the Hub's files are kept.
            device: Where its weights go.

        Returns:
            The model.

        Raises:
            UsageError: If there is no such folder or model, or it is damaged.
        """
        if Path(name_or_folder).exists() or not hub.is_remote(str(name_or_folder)):
            return cls.load(name_or_folder, device)
        model = cls.load(hub.fetch(str(name_or_folder), revision, token, cache_dir), device)
        model.folder = None  # the cache is not ours to write to
        return model

    @final
    @checked("model.push_to_hub")
    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str | None = None,
        license: str | None = None,
    ) -> str:
        """Put the model onto the Hub, in a repository that is made if there is none.

        Args:
            repo_id: owner/name.
            private: Whether a new repository is private.
            token: That may write there.
            commit_message: The commit message.
            license: License of the weights, by its short name.

        Returns:
            The repository's address.

        Raises:
            UsageError: If the Hub cannot be reached or refuses.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, license=license, name=repo_id)
            return hub.publish(Path(folder), repo_id, private, token, commit_message)
