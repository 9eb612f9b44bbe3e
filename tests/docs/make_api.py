"""Write docs/api.md: ``python -m tests.docs.make_api``. A test compares the page with the code."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
MODULES = {
    "ewma_ops": "What most programs need.",
    "ewma_ops.operators": "Bytewax operators; `import ewma_ops.operators as ew`.",
    "ewma_ops.composites": "Indicators made of several smoothings.",
    "ewma_ops.history": "Earlier readings, to start warm.",
    "ewma_ops.monitor": "Alarms by their rate of false alarms.",
    "ewma_ops.table": "The state of all series, without a stream.",
    "ewma_ops.testing": "Tests of your own, without a broker.",
    "ewma_ops.connectors": "Kafka as source and sink of any Bytewax dataflow.",
    "ewma_ops.errors": "What is raised. All are `EwmaError`.",
}
"""Public modules, and a sentence on each."""


def page() -> str:
    """Return the text of the page."""
    lines = [
        "# Public names",
        "",
        "Everything else is private, and may change in any release.",
    ]
    for module, sentence in MODULES.items():
        lines += ["", f"## `{module}`", "", sentence, "", "| name | |", "|---|---|"]
        found = importlib.import_module(module)
        lines += [_row(name, getattr(found, name)) for name in sorted(found.__all__, key=str.lower)]
    return "\n".join(lines) + "\n"


def _row(name: str, member: object) -> str:
    if isinstance(member, (str, dict)):
        return f"| `{name}` | |"
    first = (inspect.getdoc(member) or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    source = Path(inspect.getsourcefile(inspect.unwrap(member)) or "")  # type: ignore[arg-type]
    path = source.relative_to(PAGE.parents[1]).as_posix()
    return f"| [`{name}`](../{path}) | {first} |"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
