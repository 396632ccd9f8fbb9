"""``python -m fastface``: the same as the ``fastface`` command."""

from __future__ import annotations

import sys

from fastface.cli import main

if __name__ == "__main__":
    sys.exit(main())
