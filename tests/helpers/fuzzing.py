"""The command line of a fuzzer: how many inputs, from which seed, in how much memory."""

from __future__ import annotations

import argparse
import math
import random
import resource
import time
from collections import Counter
from collections.abc import Callable

MEMORY_BYTES = 2 << 30
RUN = 100


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


def in_runs(
    check: Callable[[random.Random, int], Counter[str]],
    seed: int,
    inputs: int,
    *,
    most_s: float = math.inf,
) -> Counter[str]:
    """Call ``check`` for runs of 100 inputs, each of ``most_s`` CPU seconds at most; add up."""
    outcomes: Counter[str] = Counter()
    slowest_s = 0.0
    for number in range(-(-inputs // RUN)):
        started = time.process_time()
        try:
            outcomes += check(random.Random(f"{seed}/{number}"), RUN)
        except BaseException:
            print(f"seed {seed}, run {number}")
            raise
        took_s = time.process_time() - started
        assert took_s < most_s, f"seed {seed}, run {number}: {took_s:.1f} s"
        slowest_s = max(slowest_s, took_s)
    outcomes["slowest run, CPU ms"] = round(slowest_s * 1000)
    return outcomes
