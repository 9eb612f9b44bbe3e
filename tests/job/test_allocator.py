from __future__ import annotations

import ctypes
import resource
import subprocess
import sys

import pytest

from ewma_ops.job.allocator import SWITCH, keep_freed_memory, return_freed_memory
from tests.helpers.patience import PATIENCE_S

BLOCKS = """
import resource
from ewma_ops.job.allocator import keep_freed_memory
import numpy as np
print(keep_freed_memory())
sizes = range(200_000, 6_000_000, 100_000)
for size in sizes:  # the first time each page is a fault, whatever the allocator does
    np.ones(size, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for size in sizes:
    np.ones(size, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def has_glibc() -> bool:
    try:
        return bool(ctypes.CDLL(None).gnu_get_libc_version)
    except (AttributeError, OSError):
        return False


def faults(**environment: str) -> tuple[str, int]:
    """Return whether memory is kept, and the page faults of 58 blocks of up to 6 MB."""
    command = [sys.executable, "-c", BLOCKS]
    said = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S
    ).stdout
    kept, count = said.split()
    return kept, int(count)


@pytest.mark.slow
@pytest.mark.skipif(not has_glibc(), reason="the C library is not glibc")
def test_memory_that_was_freed_is_taken_again_without_page_faults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    all_pages = sum(range(200_000, 6_000_000, 100_000)) // resource.getpagesize()
    kept, few = faults(PYTHONPATH=".")
    assert (kept, few < all_pages // 20) == ("True", True), few
    kept, many = faults(PYTHONPATH=".", **{SWITCH: "system"})
    assert (kept, many > 5 * few) == ("False", True), (few, many)


@pytest.mark.parametrize(
    "environment", [{SWITCH: "system"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}]
)
def test_the_environment_leaves_the_allocator_as_it_is(environment: dict[str, str]) -> None:
    assert not keep_freed_memory(environment)
    assert not return_freed_memory(environment)


HELD = """
import resource, threading
from ewma_ops.job.allocator import return_freed_memory
import numpy as np
print(return_freed_memory())
def held():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * resource.getpagesize()
def take():
    for size in range(1 << 20, 8 << 20, 1 << 18):
        np.ones(size, np.uint8)
before = held()
threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(held() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not has_glibc(), reason="the C library is not glibc")
def test_memory_that_was_freed_is_given_back() -> None:
    said = subprocess.run(
        [sys.executable, "-c", HELD],
        env={"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    ).stdout.split()
    assert said[0] == "True"
    assert int(said[1]) < 3 << 20
