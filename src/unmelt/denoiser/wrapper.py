"""Base class of denoisers that wrap another denoiser."""

from typing import Any

from unmelt.denoiser.denoiser import Denoiser


class DenoiserWrapper:
    """A denoiser made of another one, with its process and its shape. Subclasses keep the inner one as `denoiser`."""

    denoiser: Denoiser

    @property
    def process(self) -> Any:
        """The process of the inner denoiser."""
        return self.denoiser.process

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row of x."""
        return self.denoiser.shape  # type: ignore[attr-defined]
