"""The arguments of a call, checked against its signature before anything is computed."""

from unmelt.arguments.check import checked, checked_init

__all__ = ["checked", "checked_init"]
