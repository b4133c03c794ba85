"""A language model on the disk as network and tokenizer of a masked diffusion.

    masked language model    [CLS] text [SEP] is read; a special token is never written
    diffusion model          its own mask; see `diffusion_layouts`
    causal model             shifted, after the token that begins a text, with a new token for the mask

The embedding of a new token is the mean of all, of which no word is far: the model's outputs begin as those of an
average word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from unmelt.codec import PretrainedTokenizer
from unmelt.encoder.pretrained import transformers_package
from unmelt.errors import UsageError
from unmelt.interop.language.files import (
    LanguageFolder,
    language_folder,
    read_network,
    read_tokenizer,
    read_weights,
)
from unmelt.interop.language.layouts import LAYOUTS
from unmelt.interop.language.network import (
    CAUSAL,
    LanguageNetwork,
    configuration,
    positions,
    settings_of,
    without_initial_weights,
)

LENGTH = 256
"""Tokens of a row where nothing is said, if the model has as many positions."""


class LanguageModel(NamedTuple):
    """A network and its tokenizer.

    Args:
        network: The network, which reads masks and gives logits of the tokenizer's tokens.
        tokenizer: The tokenizer.
        is_causal: Whether the model was trained to attend to earlier positions only.
    """

    network: LanguageNetwork
    tokenizer: PretrainedTokenizer
    is_causal: bool


class _Tokens(NamedTuple):
    """Numbers of tokens: how many have text, and those with a part of their own."""

    known: int
    vocabulary: int
    end: int
    padding: int


def read_language_model(
    path: str | Path, *, length: int | None = None, special_tokens_in_text: bool = False
) -> LanguageModel:
    """Read a language model as a denoiser's network.

    Args:
        path: A folder with config.json, safetensors weights and a tokenizer; a .gguf file, or a folder with one.
        length: Tokens of the longest row. None: 256, or as many as the model has positions for.
        special_tokens_in_text: Whether names of special tokens in a text are read as those tokens.

    Returns:
        Network and tokenizer.

    Raises:
        UsageError: If there is no such model, it is of no known kind, or its files are damaged.
    """
    found = language_folder(path, LAYOUTS)
    theirs = read_tokenizer(found)
    tokens = _tokens(theirs, found)
    described: dict[str, Any] = {"vocabulary": tokens.vocabulary, "padding": tokens.padding}
    if found.architecture in LAYOUTS:
        network = _of_layout(found)
        described |= {"mask_token": _own_mask(found), "shifted": LAYOUTS[found.architecture].shifted}
    elif found.architecture in CAUSAL:
        network = read_network(found)
        begin = next((each for each in (theirs.bos_token_id, theirs.eos_token_id) if each is not None), None)
        described |= {"mask_token": _new_mask(network, tokens.known), "shifted": True}
        described |= {"before": () if begin is None else (begin,)}
    else:
        network = read_network(found)
        described |= _around_text(theirs, found, tokens)
    _check_tokens(network, tokens, found)
    made = _described(network, described, length)
    tokenizer = PretrainedTokenizer.of(
        theirs.backend_tokenizer.to_str(),
        vocabulary=tokens.vocabulary,
        end=tokens.end,
        padding=tokens.padding,
        special_tokens_in_text=special_tokens_in_text,
    )
    return LanguageModel(made, tokenizer, found.architecture in CAUSAL)


def _described(network: Any, described: dict[str, Any], length: int | None) -> LanguageNetwork:
    """The backbone around a network that has its weights."""
    kind, settings = type(network).__name__, settings_of(network.config)
    around = len(described.get("before", ())) + len(described.get("after", ()))
    most = positions(network) - around
    length = min(LENGTH, most) if length is None else length
    if not 1 <= length <= most:
        raise UsageError(f"length={length}", f"1 to {most} tokens, for which there are positions", f"length={most}")
    with without_initial_weights():  # its weights are there
        made = LanguageNetwork(architecture=kind, settings=settings, length=length, **described)
    made.network = network
    return made.eval()


def _tokens(theirs: Any, found: LanguageFolder) -> _Tokens:
    """The numbers of a tokenizer. Padding that is the end of a text too gets a number of its own, after all others."""
    count = max(theirs.get_vocab().values()) + 1
    end = theirs.eos_token_id if theirs.eos_token_id is not None else theirs.sep_token_id
    if end is None:
        raise UsageError(
            f"the tokenizer in {found.root} has no token that ends a text",
            "one with eos_token or sep_token",
            'tokenizer.eos_token = "<|end|>"; tokenizer.save_pretrained(folder)',
        )
    padding = theirs.pad_token_id
    is_own = padding is not None and padding not in (end, theirs.bos_token_id, theirs.unk_token_id)
    return _Tokens(count, count + (not is_own), end, padding if is_own else count)


def _check_tokens(network: Any, tokens: _Tokens, found: LanguageFolder) -> None:
    rows = network.get_input_embeddings().weight.shape[0]
    if tokens.known > rows:
        raise UsageError(
            f"the tokenizer in {found.root} has {tokens.known} tokens, its model {rows}",
            "files that were saved together",
            "model.save_pretrained(folder); tokenizer.save_pretrained(folder)",
        )


def _around_text(theirs: Any, found: LanguageFolder, tokens: _Tokens) -> dict[str, Any]:
    """What a masked language model reads around a text, and which tokens are none of a text."""
    if theirs.mask_token_id is None:
        raise UsageError(
            f"the tokenizer in {found.root} has no mask token",
            "one with a mask_token",
            'tokenizer.mask_token = "[MASK]"; tokenizer.save_pretrained(folder)',
        )
    inner = theirs("a", add_special_tokens=False)["input_ids"]
    whole = theirs("a")["input_ids"]
    first = next((k for k in range(len(whole)) if whole[k : k + len(inner)] == inner), 0)
    names = ("bos", "cls", "eos", "sep", "pad", "unk")
    special = [getattr(theirs, f"{name}_token_id") for name in names]
    return {
        "mask_token": theirs.mask_token_id,
        "before": tuple(whole[:first]),
        "after": tuple(whole[first + len(inner) :]),
        "excluded": tuple(sorted({each for each in special if each is not None})),
        "end": tokens.end,
    }


def _own_mask(found: LanguageFolder) -> int:
    mask = found.settings.get("mask_token_id")
    if not isinstance(mask, int) or isinstance(mask, bool):
        raise UsageError(
            f"{found.root / 'config.json'} names no mask_token_id", "its number", '"mask_token_id": 126336'
        )
    return mask


def _new_mask(network: Any, count: int) -> int:
    """The number of a new token, the first that the tokenizer does not use, with the mean embedding."""
    if network.get_input_embeddings().weight.shape[0] <= count:
        network.resize_token_embeddings(count + 1, mean_resizing=False)
    with torch.no_grad():
        for layer in (network.get_input_embeddings(), network.get_output_embeddings()):
            layer.weight[count] = layer.weight[:count].mean(0)
    return count


def _of_layout(found: LanguageFolder) -> Any:
    """A model of a known layout, in a class of transformers."""
    layout = LAYOUTS[found.architecture]
    transformers = transformers_package()
    kind = getattr(transformers, layout.architecture)
    weights = {layout.renamed(name): value for name, value in read_weights(found.root).items()}
    try:
        settings = layout.settings(found.settings)
        with without_initial_weights():
            network = kind(configuration(kind, settings)).float()
        if settings["tie_word_embeddings"]:
            weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])
        network.load_state_dict(weights)
    except UsageError:
        raise
    except Exception as error:  # a damaged file can raise anything at all
        said = " ".join(str(error).split())[:200] or repr(error)
        raise UsageError(
            f"the weights in {found.root} are not those of a {found.architecture} ({said})",
            "config.json and weights as they were saved together",
            "a new copy of the folder",
        ) from None
    return network.eval()
