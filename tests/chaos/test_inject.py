"""Faults that are put into the flow's own processes need the product's names to be as they were."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

from tests.chaos.job import INJECT

_SPEC = importlib.util.spec_from_file_location("inject", INJECT / "sitecustomize.py")
assert _SPEC is not None
assert _SPEC.loader is not None
inject = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(inject)


@pytest.mark.parametrize("step", [*inject.PATCHED.items(), *inject.IN_LAUNCHER.items()], ids=str)
def test_every_step_that_can_kill_is_there(step: tuple[str, tuple[str, str, str]]) -> None:
    """An error in ``sitecustomize`` is printed by Python and otherwise ignored."""
    module, owner, name = step[1]
    home = importlib.import_module(module)
    assert callable(getattr(getattr(home, owner) if owner else home, name))
