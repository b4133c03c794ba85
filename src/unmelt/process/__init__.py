"""How data melts."""

from unmelt.process.gaussian import Gaussian
from unmelt.process.process import Process

__all__ = ["Gaussian", "Process"]
