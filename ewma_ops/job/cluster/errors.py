"""The error of a machine that its cluster refuses. Knows only the errors of the package."""

from __future__ import annotations

from ewma_ops.errors import EwmaError

__all__ = ["ClusterError"]


class ClusterError(EwmaError):
    """A machine differs from the others of its cluster, or its port is not free.

    That may change in a moment, as while versions are upgraded one machine after the other.
    """

    fault = "user"
    retry = True
