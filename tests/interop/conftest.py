"""diffusers imports torchvision where there is one, for models that are not ours: one that is broken is hidden."""

import sys

try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):
    sys.modules["torchvision"] = None
