"""A pipeline of diffusers from the Hub: its index first, then the files of the parts that the index names.

Only JSON, safetensors and the text files of tokenizers are downloaded: no code and no pickle. Weights in half precision
are left where whole ones are.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from unmelt import hub
from unmelt.interop.pipeline.folder import INDEX, PARTS, read_index_alone

READ = (".json", ".txt", ".safetensors")
"""Suffixes of the files that are read."""

VARIANT = re.compile(r"\.(fp16|bf16|non_ema|ema_only)[.-]")
"""Marks of variants in the names of weight files."""


def download_pipeline(name: str) -> Path:
    """Download a pipeline, or find it in the cache of the Hub's client if there is no network.

    Args:
        name: Repository, "owner/name".

    Returns:
        The local folder.

    Raises:
        UsageError: If huggingface_hub is not installed, the Hub or the repository cannot be reached, or it is no
            pipeline of a known class.
    """
    client, needed = hub.client(name), "a pipeline of diffusers on the Hub, or a folder"
    api = client.HfApi(library_name="unmelt")
    is_known = hub.is_known(api.endpoint)
    with hub.as_usage_errors(name, needed, "a pipeline of diffusers", INDEX):
        folder = Path(api.hf_hub_download(name, INDEX, local_files_only=not is_known)).parent
    parts = PARTS[str(read_index_alone(folder)["_class_name"])]
    with hub.as_usage_errors(name, needed, "a whole pipeline", "all files of its parts"):
        if is_known:
            files = needed_files(api.list_repo_files(name, revision=folder.name), tuple(parts))
            return Path(client.snapshot_download(name, revision=folder.name, allow_patterns=files))
        return Path(client.snapshot_download(name, revision=folder.name, local_files_only=True))


def needed_files(files: Iterable[str], parts: Sequence[str]) -> list[str]:
    """The files of a repository that are read.

    Args:
        files: All of its files.
        parts: The parts of the pipeline, which are its folders.

    Returns:
        The index, and those of the parts.
    """
    read = [each for each in files if each.endswith(READ) and PurePosixPath(each).parent.as_posix() in parts]
    whole = {PurePosixPath(each).parent for each in read if each.endswith(".safetensors") and not VARIANT.search(each)}
    return [INDEX, *(each for each in read if not (VARIANT.search(each) and PurePosixPath(each).parent in whole))]
