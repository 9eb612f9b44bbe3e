"""``python -m ewma_ops.compiled``: compile the loops where this package is installed."""

from __future__ import annotations

import sys

from ewma_ops.compiled.sources import main

if __name__ == "__main__":
    sys.exit(main())
