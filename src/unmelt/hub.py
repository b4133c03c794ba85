"""The Hugging Face Hub: download and publish run folders with the Hub's own client.

A repository holds a run folder's config.json and model.safetensors, and for people a card, scores and a picture. From a
repository of someone else only the first two are downloaded, and the weights only after the description has been
validated and has shown how large they may be.
"""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from unmelt import card, config, run_folder
from unmelt.errors import UsageError
from unmelt.near_path import entries, is_run

SHARED = (run_folder.CONFIG, card.CARD, card.SCORES, card.PICTURE)
"""Files of a run folder that are published beside its weights; the others (checkpoints, losses) stay local."""

OWN_FILES = f"{run_folder.CONFIG} and {run_folder.WEIGHTS}, as unmelt saves them"

NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

MOST_CONFIG = 1 << 20
"""Largest accepted config.json, in bytes; a usual one has a few thousand."""


def is_name(text: str) -> bool:
    """Whether a text can be `owner/name` on the Hub.

    Args:
        text: The text.

    Returns:
        True if it has the form of a repository's name.
    """
    return NAME.fullmatch(text) is not None


def is_remote(text: str) -> bool:
    """Whether a text names a model on the Hub, and not a run folder that is misspelt.

    Args:
        text: The text, of which there is no such file or folder.

    Returns:
        True if it has the form of a repository's name, and no folder of runs here is called like its owner.
    """
    owner = Path(text).parent
    return is_name(text) and owner.name != "runs" and not any(is_run(each) for each in entries(owner))


def public(about: dict[str, Any]) -> dict[str, Any]:
    """A description without local paths: absolute paths in the settings are reduced to their last part.

    Args:
        about: The content of config.json.

    Returns:
        A copy that can be published.
    """
    origin = dict(about["origin"])
    origin["settings"] = {
        key: Path(value).name if isinstance(value, str) and os.path.isabs(value) else value
        for key, value in origin.get("settings", {}).items()
    }
    model = dict(about["model"])
    if isinstance(verifier := model.get("verifier"), dict):
        model["verifier"] = {**verifier, "path": Path(verifier["path"]).name}
    return {**about, "origin": origin, "model": model}


def fetch(name: str, revision: str | None, token: str | None, cache_dir: str | Path | None) -> Path:
    """Download the description and the weights of `owner/name`, or find them in the cache if there is no network.

    Args:
        name: Repository, "owner/name".
        revision: Branch, tag or commit; None for the main branch.
        token: Access token; None for the one that is logged in, if any.
        cache_dir: Cache folder of the client; None for its default.

    Returns:
        The local folder that holds both files.

    Raises:
        UsageError: If the repository cannot be reached or read, is not a model of unmelt, or its weights are larger
            than its description calls for.
    """
    hub = client(name)
    api = hub.HfApi(token=token, library_name="unmelt")
    with as_usage_errors(name, f"a model on the Hub, or a folder {name}"):
        options: Any = {"cache_dir": cache_dir, "local_files_only": not is_known(api.endpoint)}
        path = Path(api.hf_hub_download(name, run_folder.CONFIG, revision=revision, **options))
    if path.stat().st_size > MOST_CONFIG:
        raise UsageError(
            f"{run_folder.CONFIG} of {name} has {path.stat().st_size:,} bytes",
            f"at most {MOST_CONFIG:,}",
            "another model",
        )
    folder = path.parent
    about = run_folder.read_about(folder)
    most = {run_folder.weights_file(module): _most_bytes(name, about, module) for module in run_folder.digests(about)}
    with as_usage_errors(name, "a model with weights"):
        for file, bytes_at_most in most.items():
            if (folder / file).exists():
                continue
            at = hub.hf_hub_url(name, file, revision=folder.name, endpoint=api.endpoint)
            size = api.get_hf_file_metadata(url=at).size
            if size is None or size > bytes_at_most:
                raise UsageError(
                    f"the weights of {name} have {size:,} bytes" if size else f"the weights of {name} state no size",
                    f"at most the {bytes_at_most:,} that its {run_folder.CONFIG} describes",
                    "another revision of it",
                )
            api.hf_hub_download(name, file, revision=folder.name, cache_dir=cache_dir)
    return folder


def is_known(endpoint: str) -> bool:
    """Whether the Hub's address is known: without a network it is not, and the client would try again for long.

    Args:
        endpoint: The Hub's address.

    Returns:
        True if its host has an address, or a proxy is asked for it.
    """
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, None)
    except OSError:
        return False
    return True


def _most_bytes(name: str, about: dict[str, Any], module: str) -> int:
    """The largest size of a module's weights that fits a description."""
    try:
        return run_folder.most_bytes(config.build(about["model"][module]).state_dict())
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{run_folder.CONFIG} of {name} does not describe a model ({error!r})",
            "a folder that unmelt saved",
            "another model",
        ) from None


def publish(folder: Path, name: str, private: bool | None, token: str | None, message: str | None) -> str:
    """Upload a folder to the Hub in one commit; the repository is created if it does not exist.

    Args:
        folder: The run folder.
        name: Repository, "owner/name".
        private: Whether a new repository is private; None for the owner's default.
        token: Access token; None for the one that is logged in.
        message: Commit message; None for a standard one.

    Returns:
        The repository's address.

    Raises:
        UsageError: If the name is invalid, the Hub cannot be reached, or the token may not write there.
    """
    if not is_name(name):
        raise UsageError(f"the name {name!r}", "an owner and a name", 'push_to_hub("owner/name")')
    hub = client(name)
    shared = (*SHARED, *map(run_folder.weights_file, run_folder.digests(run_folder.read_about(folder))))
    files = [path for path in map(folder.joinpath, shared) if path.is_file()]
    with as_usage_errors(name, "a token that may write there"):
        api = hub.HfApi(token=token, library_name="unmelt")
        address = api.create_repo(name, private=private, exist_ok=True)
        operations = [hub.CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path) for path in files]
        api.create_commit(address.repo_id, operations, commit_message=message or "Model and card, by unmelt")
    return str(address)


def client(name: str) -> Any:
    """The huggingface_hub package, which is optional.

    Args:
        name: What is to be read with it, for the message.

    Returns:
        The module.

    Raises:
        UsageError: If it is not installed.
    """
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
def as_usage_errors(name: str, needed: str, kind: str = "a model of unmelt", files: str = OWN_FILES) -> Iterator[None]:
    """Turn every error of the Hub's client into a `UsageError` that says what to do.

    Args:
        name: Repository, "owner/name".
        needed: What is needed, for messages.
        kind: What the repository should be, for a file that is missing.
        files: The files of such a repository.

    Yields:
        Nothing.

    Raises:
        UsageError: In the place of the client's errors.
    """
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
            f"{name} on the Hub is not {kind} ({_brief(error)})",
            files,
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
