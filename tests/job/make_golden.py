"""Write the golden recovery directory of this version: ``python -m tests.job.make_golden``.

Done once for each release, and then kept: `test_golden` resumes each of them.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, TestingSource, run_main

import ewma_ops
import ewma_ops.operators as ew
from ewma_ops import Composite, Decay, Readings, Smoothed, Smoothing, macd
from ewma_ops.job.recovery.store import RecoveryStore

GOLDEN = Path(__file__).parent / "golden"
IDENTITY = {"input topic": "golden"}
SMOOTHINGS: dict[str, Smoothing | Composite] = {
    "fast": Smoothing(Decay(halflife="1s"), statistics=["mean", "std", "sem", "rate", "cov"]),
    "slow": Smoothing(Decay(span=20), missing="decay", statistics=["mean", "settled"]),
    "trend": macd(),
}


def batches() -> list[Readings]:
    """Return what is smoothed: two halves of readings of 40 series with two fields."""
    return [
        Readings.of(
            [f"series-{i % 40}" for i in range(first, first + 500)],
            [[float(i % 17), None if i % 11 == 0 else i / 7] for i in range(first, first + 500)],
            [1_700_000_000_000 + i * 37 for i in range(first, first + 500)],
        )
        for first in (0, 500)
    ]


def smoothed(source: list[Readings], store: RecoveryStore | None) -> list[Smoothed]:
    """Run a flow over readings, with a recovery store or without one."""
    flow = Dataflow("golden")
    out: list[Smoothed] = []
    readings = op.input("readings", flow, TestingSource(source))
    found = ew.smooth_batches("smooth", readings, SMOOTHINGS, shards=4, fields=["bid", "ask"])
    op.output("out", found, TestingSink(out))
    recovery = None if store is None else RecoveryConfig(store.parts)
    run_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)
    return out


def main() -> None:
    """Smooth the first half, and keep the store."""
    target = GOLDEN / ewma_ops.__version__
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory() as directory:
        with RecoveryStore(Path(directory) / "state") as store:
            store.prepare(IDENTITY)
            smoothed(batches()[:1], store)
        shutil.copytree(Path(directory) / "state", target, ignore=shutil.ignore_patterns("lock"))
    print(f"{target}: {sum(path.stat().st_size for path in target.rglob('*')):,} bytes")


if __name__ == "__main__":
    main()
