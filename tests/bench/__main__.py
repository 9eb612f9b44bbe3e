"""``make bench``: every benchmark, one after the other."""

from __future__ import annotations

from tests.bench import (
    bench_alarms,
    bench_attack,
    bench_backtest,
    bench_flow,
    bench_formats,
    bench_kernel,
    bench_live,
    bench_m3,
    bench_memory,
    bench_metrics,
    bench_operators,
    bench_page,
    bench_rejects,
    bench_seasons,
    bench_stages,
    bench_start,
    bench_watch,
    bench_wire,
)

NATIVE = ["ours, exactly once", "go", "java", "flink", "streams", "confluent_loop"]

bench_wire.main()
bench_operators.main()
bench_kernel.main()
bench_formats.main([])
bench_rejects.main([])
bench_stages.main([])
bench_start.main([])
bench_backtest.main([])
bench_m3.main([])
bench_live.main([])
bench_alarms.main([])
bench_attack.main([])
bench_memory.main([])
bench_seasons.main([])
bench_watch.main([])
bench_page.main([])
bench_metrics.main([])
bench_flow.main()
bench_flow.main(["--apache", "--readings", "4000000", "--series", "1000", "--only", *NATIVE])
