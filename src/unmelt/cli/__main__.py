"""Entry point of `python -m unmelt.cli`."""

import sys

from unmelt.cli import main

sys.exit(main())
