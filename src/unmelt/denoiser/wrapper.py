"""What every denoiser made of another one has: its process, and its shape."""

from typing import Any

from unmelt.denoiser.denoiser import Denoiser


class DenoiserWrapper:
    """Inherit it, and keep the inner one as `denoiser`."""

    denoiser: Denoiser

    @property
    def process(self) -> Any:
        return self.denoiser.process

    @property
    def shape(self) -> tuple[int, ...]:
        return self.denoiser.shape  # type: ignore[attr-defined]
