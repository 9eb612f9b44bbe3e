"""The command line of a fuzzer: how many inputs, from which seed, in how much memory."""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from collections.abc import Callable

MEMORY_BYTES = 2 << 30


def fuzz(run: Callable[[int, int], Counter[str]], description: str | None) -> None:
    """Call ``run`` with a seed and a number of inputs; print each outcome and how often it was."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    started = time.perf_counter()
    for what, number in run(options.seed, options.inputs).most_common():
        print(f"{number:>10,}  {what}")
    print(f"{time.perf_counter() - started:>10,.0f}  s")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10:>10,}  MiB at most")
