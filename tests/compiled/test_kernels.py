"""The compiled loops come to the same as what they stand for, and touch nothing beside it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewma_ops.compiled import library, sources
from tests.compiled import cases
from tests.helpers.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(library.kernels is None, reason=library.missing)

STRICT = ("-Wall", "-Wextra", "-Werror", "-g", "-O1")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.parametrize("check", cases.CHECKS, ids=lambda check: check.__name__)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_loop_is_the_same_as_its_reference(
    check: Callable[[random.Random], None], seed: int
) -> None:
    check(random.Random(seed))


@given(st.lists(st.floats(), min_size=1))
def test_any_number_has_the_same_text(numbers: list[float]) -> None:
    texts = cases.float_texts(np.array(numbers))
    assert texts == msgspec.json.encode(numbers)[1:-1].split(b",")


def test_a_hundred_thousand_bit_patterns_and_every_power_have_the_same_text() -> None:
    bits = np.random.default_rng(1).integers(0, 2**64, 100_000, np.uint64).view(np.float64)
    powers = 2.0 ** np.arange(-1074, 1024)
    tens = 10.0 ** np.arange(-323, 309)
    every = [bits, powers, tens, np.nextafter(powers, np.inf), np.nextafter(powers, 0.0)]
    numbers = np.concatenate(every)
    assert cases.float_texts(numbers) == msgspec.json.encode(numbers.tolist())[1:-1].split(b",")


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_positions_out_of_bounds_are_refused(data: st.DataObject) -> None:
    """Whatever the numbers in the arrays are: an answer, or an error that says so."""
    assert library.kernels is not None
    odd = st.sampled_from([-(2**63), -65, -1, 0, 1, 2, 3, 64, 65, 2**40, 2**63 - 1])

    def column(n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array(data.draw(st.lists(odd, min_size=n, max_size=n)), np.int64)

    n = data.draw(st.integers(0, 3))
    text, floats = np.zeros(66, np.uint8), np.zeros(n)
    marks, out = np.zeros(n, np.uint8), np.zeros(70, np.uint8)
    kernels, words = library.kernels, np.zeros(4, np.uint64)
    empty, nothing = np.empty(0, np.int64), np.empty(0, np.uint8)
    slots = np.array(data.draw(st.lists(st.sampled_from([-1, 0, 1, 9]), min_size=8, max_size=8)))
    number, spans = data.draw(odd), (text, column(n), column(n))
    calls: list[tuple[Callable[..., int], tuple[object, ...]]] = [
        (kernels.copy_strings, (text, column(n), column(n), column(n), out)),
        (kernels.murmur2, (text, column(n), column(n), np.zeros(n, np.uint32))),
        (kernels.read_decimals, (text, column(n), column(n), floats, marks)),
        (kernels.read_integers, (text, column(n), column(n), number, column(n), marks)),
        (kernels.accumulate, (column(n), floats, floats, floats.copy(), floats.copy())),
        (kernels.means, (column(n), floats, floats, floats, floats.copy(), floats.copy(), floats)),
        (kernels.latest, (column(n), column(n), column(2), column(n))),
        (kernels.counts, (column(n), marks, column(2), column(n))),
        (
            kernels.weigh_season,
            (
                *map(column, (n, 2, n, n)),
                marks,
                marks,
                3,
                5,
                column(4),
                np.ones(3),
                np.zeros(6),
                np.zeros(6),
                np.zeros(2),
                column(2 * n),
                np.zeros(2 * n),
                np.zeros(2 * n, np.uint8),
                np.zeros(2 * n),
                floats,
                floats,
            ),
        ),
        (
            kernels.adjust_season,
            (
                column(n),
                column(2),
                3,
                1,
                column(2 * n),
                np.zeros(2 * n),
                np.zeros(2 * n, np.uint8),
                np.zeros(2 * n),
                floats,
                marks,
                *[floats] * 8,
                np.zeros(6),
                *[np.zeros(2)] * 4,
                *[floats] * 7,
            ),
        ),
        (kernels.number_series, (column(n), slots, 3, column(n), column(n))),
        (
            kernels.match_shape,
            (*spans, text[:2], column(2), marks[:1], column(n), column(n), marks),
        ),
        (
            kernels.probe,
            (text, column(n), column(n), words, 1, 1, words[:2], 1, text, column(3), column(n)),
        ),
        (
            kernels.encode_records,
            (*spans, *spans, text[:1], nothing, 0, empty, nothing, empty, empty, out, number, 0),
        ),
        (
            kernels.decode_records,
            (text, *map(column, [1] * 5), np.zeros(1, np.uint8), *map(column, [n] * 9)),
        ),
    ]
    for call, given_ in calls:
        try:
            call(*given_)
        except (ValueError, TypeError):
            continue
    assert not text.any()


def test_a_table_of_series_without_a_free_slot_is_refused() -> None:
    assert library.kernels is not None
    rows, full, series, at = (
        np.arange(3),
        np.zeros(8, np.int64),
        np.full(3, 7),
        np.zeros(3, np.int64),
    )
    with pytest.raises(ValueError, match="number_series"):
        library.kernels.number_series(rows, full, 3, series, at)


def test_arrays_of_another_type_or_layout_are_refused() -> None:
    assert library.kernels is not None
    at, x = np.zeros(4, np.int64), np.zeros(4)
    for wrong in (x.astype(np.float32), np.zeros(8)[::2], at):
        with pytest.raises(TypeError, match="accumulate takes no"):
            library.kernels.accumulate(at, wrong, x, x.copy(), x.copy())
    fixed = x.copy()
    fixed.flags.writeable = False
    with pytest.raises(TypeError, match="accumulate takes no"):
        library.kernels.accumulate(at, x, x, fixed, x.copy())
    with pytest.raises(ValueError, match="do not fit together"):
        library.kernels.accumulate(at, x[:3], x, x.copy(), x.copy())


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Compile the library with sanitizers; return its folder and what Python needs to load it."""
    if shutil.which("gcc") is None or sys.platform != "linux":
        pytest.skip("needs gcc on Linux")
    asked = ["gcc", "-print-file-name=libasan.so"]
    runtime = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip("gcc has no address sanitizer")
    folder = tmp_path_factory.mktemp("checked")
    for path in [*sources.FOLDER.glob("*.c"), *sources.FOLDER.glob("*.h")]:
        shutil.copy(path, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", "gcc")
        flags = (*sources.FLAGS, *STRICT, *SANITIZERS)
        assert sources.compile_to(sources.library_path(folder), folder, flags) is None
    repository = str(Path(__file__).parents[2])
    environment = {**os.environ, "LD_PRELOAD": runtime, "PYTHONPATH": repository}
    # Blocks of their own, so that a byte beside one is seen; what Python keeps is no leak.
    environment |= {"PYTHONMALLOC": "malloc", "ASAN_OPTIONS": "detect_leaks=0"}
    return folder, environment


@pytest.mark.slow
def test_no_byte_beside_an_array_is_touched(checked: tuple[Path, dict[str, str]]) -> None:
    folder, environment = checked
    command = [sys.executable, "-m", "tests.compiled.cases", str(folder), "4"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count(" ok") == len(cases.CHECKS)


BESIDE = """
import ctypes, sys
import numpy as np
library = ctypes.CDLL(sys.argv[1])
data = np.zeros(100_000)
library.ewma_accumulate.restype = ctypes.c_int64
address, n = ctypes.c_void_p(data.ctypes.data), ctypes.c_int64(100_001)  # a lie
place = np.zeros(100_001, np.int64)
library.ewma_accumulate(ctypes.c_void_p(place.ctypes.data), n, *([address, n] * 4))
"""


@pytest.mark.slow
def test_the_sanitizers_see_a_byte_beside_an_array(checked: tuple[Path, dict[str, str]]) -> None:
    folder, environment = checked
    command = [sys.executable, "-c", BESIDE, str(sources.library_path(folder))]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
