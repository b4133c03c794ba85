"""Images of PIL among arguments, which is not imported for programs that have none."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class PILImage(Protocol):
    """What is used of an image of PIL, which need not be imported for it."""

    def getbands(self) -> tuple[str, ...]:
        """Its channels.

        Returns:
            Their names.
        """

    def convert(self, mode: str) -> Any:
        """The image in other channels.

        Args:
            mode: "L" or "RGB".

        Returns:
            The image.
        """
