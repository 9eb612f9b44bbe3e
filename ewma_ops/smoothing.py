"""What is to be computed of a series: the decay, the rules around it, the statistics.

Knows which options go together; must not know how anything is computed or stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ewma_ops.decay import Decay
from ewma_ops.errors import ConfigError

__all__ = ["STATISTICS", "Smoothing"]

STATISTICS = ("mean", "n_eff", "settled", "count")
_KEPT = ("n_eff", "settled")
_START_UPS = ("corrected", "uncorrected", "first")
_MISSING = ("skip", "decay")


@dataclass(frozen=True)
class Smoothing:
    """How a series is smoothed.

    Parameters
    ----------
    decay
        How fast the past is forgotten.
    start_up
        ``"corrected"``: the properly weighted mean from the first reading on (pandas
        ``adjust=True``). ``"uncorrected"``: starts from 0, so it is too low at first; count decay
        only. ``"first"``: starts from the first reading, which counts as the whole past (pandas
        ``adjust=False``).
    missing
        ``"skip"``: a missing reading is as if absent (pandas ``ignore_na=True``). ``"decay"``:
        the weights decay past it (pandas ``ignore_na=False``).
    min_periods
        >= 0: statistics are undefined before this many observed readings.
    statistics
        Which to compute, in the order of the output, ``"mean"`` among them: ``"mean"``;
        ``"n_eff"``, the number of equally weighted readings that would be as precise;
        ``"settled"``, the share (0 to 1) of the full weight that has been gathered; ``"count"``,
        the number of observed readings.

    Raises
    ------
    ConfigError
        If an option is unknown, or two do not go together.

    Examples
    --------
    >>> Smoothing(Decay(beta=0.9), statistics=["mean", "n_eff"]).statistics
    ('mean', 'n_eff')
    """

    decay: Decay
    start_up: Literal["corrected", "uncorrected", "first"] = "corrected"
    missing: Literal["skip", "decay"] = "skip"
    min_periods: int = 0
    statistics: Sequence[str] = ("mean",)

    def __post_init__(self) -> None:
        decay: object = self.decay
        if not isinstance(decay, Decay):
            raise ConfigError(f"decay must be a Decay, such as Decay(beta=0.9), not {decay!r}")
        _one_of("start_up", self.start_up, _START_UPS)
        _one_of("missing", self.missing, _MISSING)
        if self.start_up == "uncorrected" and decay.by_time:
            raise ConfigError(
                f'start_up "uncorrected" needs a decay per reading, and {decay!r} is per '
                'time: use "corrected" or "first", or give beta, alpha, span or com'
            )
        periods: object = self.min_periods
        if not isinstance(periods, int) or isinstance(periods, bool) or periods < 0:
            raise ConfigError(f"min_periods is {periods!r}: it must be an integer >= 0")
        object.__setattr__(self, "statistics", _checked(self.statistics))

    def fingerprint(self) -> str:
        """Return a short text that differs where one's state would be of no use to another.

        It names the decay, the rules, and the statistics that keep something of their own;
        ``min_periods`` and the order of the statistics shape the output only.
        """
        decay = self.decay
        rate = (
            f"halflife_ms={decay.halflife_ms!r}"
            if decay.by_time
            else f"beta={decay.beta!r} alpha={decay.alpha!r}"
        )
        kept = [name for name in _KEPT if name in self.statistics]
        return " ".join([rate, f"start_up={self.start_up}", f"missing={self.missing}", *kept])


def _one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(f"{name} is {value!r}: it must be one of {', '.join(allowed)}")


def _checked(statistics: object) -> tuple[str, ...]:
    if isinstance(statistics, str) or not isinstance(statistics, Sequence):
        raise ConfigError(f"statistics must be a list of names, not {statistics!r}")
    for name in statistics:
        _one_of("statistics: a name", name, STATISTICS)
    if len(set(statistics)) != len(statistics):
        raise ConfigError(f"statistics {list(statistics)} has a name twice: leave one out")
    if "mean" not in statistics:
        raise ConfigError(f'statistics {list(statistics)} lacks "mean": add it')
    return tuple(statistics)
