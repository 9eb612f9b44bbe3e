"""Why a machine is refused by a cluster. Knows the errors of the package only."""

from __future__ import annotations

from ewma_ops.errors import EwmaError

__all__ = ["ClusterError"]


class ClusterError(EwmaError):
    """A machine does not fit to the others of its cluster, or its port is not free.

    It may fit a moment later, as while versions are upgraded one machine after the other.
    """

    fault = "user"
    retry = True
