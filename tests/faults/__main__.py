"""``python -m tests.faults CAMPAIGN [options]``: break everything on purpose, and count.

::

    python -m tests.faults disk               every disk operation refused, or the last one
    python -m tests.faults damage             every file truncated, and its bits flipped
    python -m tests.faults processes          kill -9 at random moments, SIGTERM, hangs, clocks, ...
    python -m tests.faults disk --sample 20   so many operations of each job, drawn by --seed

One JSON document of counts goes to stdout; the exit code is 1 if anything came out wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Dispatch the command line."""
    if not argv or argv[0] not in ("disk", "damage", "processes"):
        print(__doc__, file=sys.stderr)
        return 2
    if argv[0] == "disk":
        from tests.faults.disk import preload

        return preload("tests.faults.disk_campaign", list(argv[1:]))
    if argv[0] == "damage":
        from tests.faults import damage

        return damage.main(argv[1:])
    from tests.faults import processes

    return processes.main(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
