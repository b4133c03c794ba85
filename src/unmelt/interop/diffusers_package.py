"""The diffusers package, which is optional."""

from typing import Any

from unmelt.errors import UsageError


def diffusers() -> Any:
    """The diffusers package, imported.

    Raises:
        UsageError: If it is not installed or cannot be imported.
    """
    try:
        import diffusers
        from diffusers import DiffusionPipeline, UNet2DModel  # noqa: F401  it loads its parts as they are asked for
    except ImportError:
        raise UsageError(
            "diffusers is not installed", "it, to exchange models with it", "pip install 'unmelt[diffusers]'"
        ) from None
    except RuntimeError as error:  # what it says when a package that it uses is broken
        raise UsageError(
            f"diffusers cannot be imported ({str(error).strip().splitlines()[-1]})",
            "an installation of it that works",
            "pip install --upgrade 'unmelt[diffusers]'",
        ) from None
    return diffusers
