"""How data melts."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.process.blend import Blend
    from unmelt.process.gaussian import Gaussian
    from unmelt.process.mask import Mask
    from unmelt.process.process import Process
    from unmelt.process.tokens import Tokens
    from unmelt.process.uniform import Uniform

__all__ = ["Blend", "Gaussian", "Mask", "Process", "Tokens", "Uniform"]

publish(__name__)
