"""The arguments of a call, checked against its signature before anything is computed."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.arguments.check import checked, checked_init

__all__ = ["checked", "checked_init"]

publish(__name__)
