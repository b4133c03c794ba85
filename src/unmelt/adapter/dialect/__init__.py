"""Files of adapters as other tools write them: whose names they are, and which layers of a network they mean.

One dialect a file. Each is a table of prefixes and a function that gives the file's names of a network's layers. A name
in a file is then looked up, and never taken apart.
"""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.adapter.dialect.known import DIALECTS, detect
    from unmelt.adapter.dialect.layer_change import LayerChange, adapter_of, changes_of, config_of
    from unmelt.adapter.dialect.network import layers_of, resolve_in
    from unmelt.adapter.dialect.place import Dialect, Place
    from unmelt.adapter.dialect.resolve import Resolved, resolve
    from unmelt.adapter.dialect.settings import FileSettings

__all__ = [
    "DIALECTS",
    "Dialect",
    "FileSettings",
    "LayerChange",
    "Place",
    "Resolved",
    "adapter_of",
    "changes_of",
    "config_of",
    "detect",
    "layers_of",
    "resolve",
    "resolve_in",
]

publish(__name__)
