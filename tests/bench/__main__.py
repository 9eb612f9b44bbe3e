"""``make bench``: every benchmark, one after the other."""

from __future__ import annotations

from tests.bench import bench_kernel, bench_operators

bench_operators.main()
bench_kernel.main()
