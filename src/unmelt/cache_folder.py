"""Where what takes long to make is kept: decoded images, latents, states of captions, plain weights, models of the lab.

UNMELT_CACHE, or else `unmelt` in the system's folder for caches: `~/.cache` on Linux (or XDG_CACHE_HOME),
`~/Library/Caches` on macOS, LOCALAPPDATA on Windows.
"""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The folder of the cache.

    Returns:
        Its path; it need not exist.
    """
    if chosen := os.environ.get("UNMELT_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "unmelt"
