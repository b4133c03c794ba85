"""What the constructors of this room accept: whole numbers that are large enough."""

from unmelt.errors import UsageError


def at_least(least: int, owner: str, **values: int) -> None:
    """Refuse any of the values that is below `least`."""
    for name, value in values.items():
        if value < least:
            raise UsageError(
                f"{owner} was given {name}={value}",
                f"{name} must be a whole number, {least} or more",
                f"{owner}(..., {name}={least})",
            )
