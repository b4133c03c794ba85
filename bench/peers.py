"""The libraries we are measured beside, each imported with nothing it does not need.

k-diffusion and diffusers' training helpers ask for torchvision, for picture transforms that nothing here touches; and
the torchvision that pip brings along fails to import beside a torch built for CPUs ("operator torchvision::nms does
not exist"). `import k_diffusion` also loads CLIP, its own models and its command-line parts. So, where the real
torchvision does not import, an empty one stands in for it while the peers are imported, and of k-diffusion only the two
files that sample are loaded. The peers' own code is untouched.

A peer that is not there is said so, and its rows are left out.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

PACKAGES = ("unmelt", "torch", "numpy", "diffusers", "accelerate", "k-diffusion", "azula", "torchdiffeq", "litserve")
EMPTY = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


class MissingError(Exception):
    """A peer cannot be imported; the message says what to do."""


def versions() -> dict[str, str]:
    """Of everything that takes part and is installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Inside, the names the peers import from torchvision exist, if need be as empty modules."""
    try:
        importlib.import_module("torchvision.transforms")
    except (ImportError, RuntimeError):
        before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "torchvision"}
        for name in before:
            del sys.modules[name]
        for name in EMPTY:
            module = sys.modules[name] = ModuleType(name)
            module.__spec__ = ModuleSpec(name, None)
            module.__path__ = []
            above, _, last = name.rpartition(".")
            if above:
                setattr(sys.modules[above], last, module)
        try:
            yield
        finally:
            for name in EMPTY:
                del sys.modules[name]
    else:
        yield


def _import(package: str, *modules: str) -> list[Any]:
    try:
        with _without_torchvision():
            return [importlib.import_module(module) for module in modules]
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingError(f"{package} left out ({reason}); pip install 'unmelt[bench]' brings it") from error


def k_diffusion() -> tuple[Any, Any]:
    """`k_diffusion.sampling` and `k_diffusion.layers`, without what `import k_diffusion` adds to them."""
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None:
        raise MissingError("k-diffusion left out (not installed); pip install 'unmelt[bench]' brings it")
    if "k_diffusion" not in sys.modules:
        package = ModuleType("k_diffusion")  # its own __init__.py is what must not run
        package.__spec__, package.__path__ = spec, list(spec.submodule_search_locations or [])
        sys.modules["k_diffusion"] = package
    sampling, layers = _import("k-diffusion", "k_diffusion.sampling", "k_diffusion.layers")
    return sampling, layers


def diffusers() -> Any:
    """`diffusers`; its schedulers are loaded when they are first named."""
    return _import("diffusers", "diffusers")[0]


def diffusers_training() -> tuple[Any, Any, Any]:
    """`diffusers`, `diffusers.training_utils` and `accelerate`: what its training examples import."""
    wanted = ("diffusers", "diffusers.training_utils", "accelerate")
    library, helpers, accelerate = _import("diffusers and accelerate", *wanted)
    return library, helpers, accelerate


def azula() -> tuple[Any, Any, Any]:
    """`azula.sample`, `azula.noise` and `azula.denoise`."""
    sample, noise, denoise = _import("azula", "azula.sample", "azula.noise", "azula.denoise")
    return sample, noise, denoise


def torchdiffeq() -> Any:
    return _import("torchdiffeq", "torchdiffeq")[0]
