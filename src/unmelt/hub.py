"""The Hub: run folders fetched from it and put onto it, by its own client.

A repository holds what a run folder does: config.json and model.safetensors, and beside them a card, scores and a
picture for people. Of a stranger's repository only the first two are ever fetched, and the weights only once the
description is known to be whole and says how large they are.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unmelt import card, config, run
from unmelt.errors import UsageError

SHARED = (run.CONFIG, card.CARD, card.SCORES, card.PICTURE)
"""What is put onto the Hub of a folder beside its weights; the rest (checkpoints, losses) stays at home."""

NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

MOST_CONFIG = 1 << 20
"""Bytes; a description is a few thousand."""


def is_name(text: str) -> bool:
    """Whether this may be `owner/name` on the Hub."""
    return NAME.fullmatch(text) is not None


def public(about: dict[str, Any]) -> dict[str, Any]:
    """A description without paths of this machine: of each, only its last name."""
    origin = dict(about["origin"])
    origin["settings"] = {
        key: Path(value).name if isinstance(value, str) and os.path.isabs(value) else value
        for key, value in origin.get("settings", {}).items()
    }
    return {**about, "origin": origin}


def fetch(name: str, revision: str | None, token: str | None, cache_dir: str | Path | None) -> Path:
    """The folder with the description and the weights of `owner/name`; from the cache where there is no network."""
    hub = _client(name)
    api = hub.HfApi(token=token, library_name="unmelt")
    with _told(name, f"a model on the Hub, or a folder {name}"):
        path = Path(api.hf_hub_download(name, run.CONFIG, revision=revision, cache_dir=cache_dir))
    if path.stat().st_size > MOST_CONFIG:
        raise UsageError(
            f"{run.CONFIG} of {name} has {path.stat().st_size:,} bytes", f"at most {MOST_CONFIG:,}", "another model"
        )
    folder = path.parent
    about = run.read_about(folder)
    most = {run.weights_file(module): _most_bytes(name, about, module) for module in run.digests(about)}
    with _told(name, "a model with weights"):
        for file, bytes_at_most in most.items():
            if (folder / file).exists():
                continue
            at = hub.hf_hub_url(name, file, revision=folder.name, endpoint=api.endpoint)
            size = api.get_hf_file_metadata(url=at).size
            if size is None or size > bytes_at_most:
                raise UsageError(
                    f"the weights of {name} have {size:,} bytes" if size else f"the weights of {name} state no size",
                    f"at most the {bytes_at_most:,} that its {run.CONFIG} describes",
                    "another revision of it",
                )
            api.hf_hub_download(name, file, revision=folder.name, cache_dir=cache_dir)
    return folder


def _most_bytes(name: str, about: dict[str, Any], module: str) -> int:
    """How large the weights may be that a description calls for."""
    try:
        return run.most_bytes(config.build(about["model"][module]).state_dict())
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{run.CONFIG} of {name} does not describe a model ({error!r})",
            "a folder that unmelt saved",
            "another model",
        ) from None


def publish(folder: Path, name: str, private: bool | None, token: str | None, message: str | None) -> str:
    """Put a shared folder onto the Hub in one commit, making the repository if there is none; returns its address."""
    if not is_name(name):
        raise UsageError(f"the name {name!r}", "an owner and a name", 'push_to_hub("owner/name")')
    hub = _client(name)
    shared = (*SHARED, *map(run.weights_file, run.digests(run.read_about(folder))))
    files = [path for path in map(folder.joinpath, shared) if path.is_file()]
    with _told(name, "a token that may write there"):
        api = hub.HfApi(token=token, library_name="unmelt")
        address = api.create_repo(name, private=private, exist_ok=True)
        operations = [hub.CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path) for path in files]
        api.create_commit(address.repo_id, operations, commit_message=message or "Model and card, by unmelt")
    return str(address)


def _client(name: str) -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise UsageError(
            f"{name} is no folder here, and huggingface_hub, which reaches the Hub, is not installed",
            "a folder, or the package",
            "pip install 'unmelt[hub]'",
        ) from None
    return huggingface_hub


@contextmanager
def _told(name: str, needed: str) -> Iterator[None]:
    """Whatever goes wrong between here and the Hub, as a mistake a person can mend."""
    from huggingface_hub import errors

    login = "hf auth login, or token=..."
    try:
        yield
    except UsageError:
        raise
    except errors.GatedRepoError:
        raise UsageError(f"{name} on the Hub is gated", "a token of someone who was let in", login) from None
    except errors.RepositoryNotFoundError:
        raise UsageError(
            f"the Hub has no {name} that you may see", f"{needed}; a private one needs a token", login
        ) from None
    except errors.RevisionNotFoundError:
        raise UsageError(f"{name} has no such revision", "a branch, tag or commit of it", 'revision="main"') from None
    except errors.LocalEntryNotFoundError:
        raise UsageError(
            f"{name} is no folder here, and the Hub cannot be reached", needed, "a network, or a copy of the folder"
        ) from None
    except errors.EntryNotFoundError as error:
        raise UsageError(
            f"{name} on the Hub is not a model of unmelt ({_brief(error)})",
            f"{run.CONFIG} and {run.WEIGHTS}, as unmelt saves them",
            "another model",
        ) from None
    except Exception as error:  # the client's transport has its own kinds, which differ from version to version
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise UsageError(f"the Hub refused {name} ({status})", needed, login) from None
        raise UsageError(
            f"{name} and the Hub: {_brief(error)}", "a network, and a Hub that answers", "again, later"
        ) from None


def _brief(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
