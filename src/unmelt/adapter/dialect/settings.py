"""What is said beside the tensors: peft's adapter_config.json, and the same in the header of diffusers' files.

    alpha = lora_alpha, or that of the first pattern in alpha_pattern that matches;    with rslora alpha sqrt(rank)

peft's patterns are regular expressions. Only names are read here, whole ("^a.b") or their last parts ("b"): an
expression from a stranger's file is not executed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from unmelt.errors import UsageError

METADATA = "lora_adapter_metadata"
"""The field of the header in which diffusers keeps the settings, as JSON."""

_OTHER = (
    "target_parameters",
    "modules_to_save",
    "trainable_token_indices",
    "layer_replication",
    "lora_bias",
    "fan_in_fan_out",
    "alora_invocation_tokens",
)
_HARMLESS = ("use_dora", "use_rslora", "eva_config")
_OTHER_WEIGHTS = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""First weights of adapters for which peft changes the network's own weights as well."""


@final
@dataclass(frozen=True, kw_only=True)
class FileSettings:
    """Alphas of a file that does not have them among its tensors.

    Args:
        alpha: For every layer; None for the layer's rank, which is a factor of 1.
        alpha_pattern: For layers that differ, by name or by a name's last parts.
        rslora: Whether changes are multiplied by alpha / sqrt(rank) instead of alpha / rank.
    """

    alpha: float | None = None
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    rslora: bool = False

    def alpha_of(self, name: str, rank: int) -> float:
        """The alpha of one layer.

        Args:
            name: The layer's name in the file, without a prefix.
            rank: Its rank.

        Returns:
            The alpha by which it is alpha / rank that multiplies B A.
        """
        alpha = float(rank) if self.alpha is None else self.alpha
        alpha = next((value for pattern, value in self.alpha_pattern.items() if _means(pattern, name)), alpha)
        return alpha * math.sqrt(rank) if self.rslora else alpha


def of_config(config: Mapping[str, Any], what: str) -> FileSettings:
    """Read the settings of an adapter_config.json.

    Args:
        config: Its content.
        what: What to call the file.

    Returns:
        The settings.

    Raises:
        UsageError: If it is not a LoRA or DoRA that its factors describe, or a value is of a wrong type.
    """
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise UsageError(f"{what} of a {kind}", "LoRA or DoRA (peft_type LORA)")
    variants = [name for name in config if name.startswith("use_") or name.endswith("_config")]
    odd = [name for name in (*_OTHER, *variants) if config.get(name) and name not in _HARMLESS]
    odd += ["bias"] if config.get("bias", "none") != "none" else []
    odd += ["init_lora_weights"] if str(config.get("init_lora_weights")).startswith(_OTHER_WEIGHTS) else []
    if odd:
        raise UsageError(f"{what} with {odd[0]}={config[odd[0]]!r}", "changes of linear layers and convolutions alone")
    alpha, pattern = config.get("lora_alpha"), config.get("alpha_pattern") or {}
    numbers = (
        [value for value in (alpha, *pattern.values()) if value is not None] if isinstance(pattern, dict) else [""]
    )
    if not all(
        isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each) for each in numbers
    ):
        raise UsageError(f"{what} with alphas that are not numbers", "the file as it was saved", "a copy of it")
    pattern = {_literal(name, what): float(value) for name, value in pattern.items()}
    return FileSettings(
        alpha=None if alpha is None else float(alpha), alpha_pattern=pattern, rslora=bool(config.get("use_rslora"))
    )


def of_metadata(metadata: Mapping[str, str], prefixes: tuple[str, ...], what: str) -> FileSettings | None:
    """Read the settings in the header of a file that diffusers wrote.

    Args:
        metadata: The header's fields.
        prefixes: What the settings of the part in question begin with, such as "unet."; "" for none.
        what: What to call the file.

    Returns:
        The settings; None if there are none.

    Raises:
        UsageError: As `of_config`, or if they are not JSON.
    """
    if METADATA not in metadata:
        return None
    try:
        content = json.loads(metadata[METADATA])
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UsageError(f"{what} with a damaged header ({METADATA})", "the file as it was saved", "a copy of it")
    for prefix in sorted(prefixes, key=len, reverse=True):
        chosen = {name.removeprefix(prefix): value for name, value in content.items() if name.startswith(prefix)}
        if "r" in chosen or "lora_alpha" in chosen:
            return of_config(chosen, what)
    return None


def _literal(pattern: str, what: str) -> str:
    """A pattern of peft as a name, with ^ before it where it is a whole one."""
    whole = pattern.startswith("^")
    name = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".").replace("\\-", "-")
    if re.search(r"[\\*+?()\[\]{}|^$]", name):
        raise UsageError(
            f"{what} with the expression {pattern!r} in alpha_pattern", "names of layers, whole or their last parts"
        )
    return f"^{name}" if whole else name


def _means(pattern: str, name: str) -> bool:
    if pattern.startswith("^"):
        return name == pattern[1:]
    return name == pattern or name.endswith(f".{pattern}")
