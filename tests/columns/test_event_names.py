"""The keys of an event, in their order."""

from __future__ import annotations

from ewma_ops.columns.event_names import own_keys


def test_the_mean_stands_first_of_the_statistics_and_the_others_keep_their_order() -> None:
    keys = own_keys(["std", "mean", "count"], ["bid"])
    assert keys == ["series_id", "time", "bid", "ewma", "std", "count"]


def test_means_of_several_smoothings_keep_their_places() -> None:
    keys = own_keys(["fast_std", "fast_mean", "slow_mean"], [])
    assert keys == ["series_id", "time", "value", "fast_std", "fast_ewma", "slow_ewma"]
