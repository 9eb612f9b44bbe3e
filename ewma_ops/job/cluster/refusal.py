"""Why place 0 refuses a launcher: what differs, but must be the same on all hosts.

Knows messages; must not know who is connected.
"""

from __future__ import annotations

from ewma_ops.job.cluster.messages import Hello

__all__ = ["refusal"]


def refusal(own: Hello, hello: Hello) -> str:
    """Return why place 0, which is ``own``, refuses a launcher; "" if it does not."""
    name = f"place {hello.place}"
    if hello.version != own.version:
        return (
            f"{name} runs ewma_ops {hello.version}, and place 0 {own.version}: install the same "
            "version on all hosts"
        )
    if hello.addresses != own.addresses:
        theirs, ours = ";".join(hello.addresses), ";".join(own.addresses)
        return f"{name} has --cluster {theirs!r}, and place 0 {ours!r}: give all hosts the same"
    if hello.workers != own.workers:
        return (
            f"{name} has --workers {hello.workers}, and place 0 {own.workers}: give all hosts the "
            "same number"
        )
    keys = [k for k in {**own.job, **hello.job} if own.job.get(k) != hello.job.get(k)]
    if keys:
        there, here = ({key: one.job.get(key, "not set") for key in keys} for one in (hello, own))
        changes = "; ".join(
            f"{key} is {there[key]!r} there, and {here[key]!r} at place 0" for key in keys
        )
        return f"{name} has another configuration: {changes}; give all hosts the same"
    return ""
