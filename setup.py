"""Build the package with its compiled loops, or without them if there is no C compiler.

Everything else is in pyproject.toml. A wheel with the loops is for one platform, and any Python.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOM = Path("ewma_ops", "compiled")
ZIGLANG = "ziglang==0.17.1"  # a C compiler in a wheel; see requirements-compiler.lock


def _sources() -> ModuleType:
    """Load the module by its path: the package cannot be imported before it is installed."""
    spec = importlib.util.spec_from_file_location("ewma_sources", ROOM / "sources.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sources = _sources()


class BuildPy(build_py):
    """Compile the loops beside the modules."""

    def run(self) -> None:
        """Build."""
        super().run()
        folder = ROOM if self.editable_mode else Path(self.build_lib, ROOM)
        failure = sources.compile_to(sources.library_path(folder.absolute()), ROOM.absolute())
        if failure is not None:
            print(f"warning: built without compiled loops: {failure}", file=sys.stderr)


class BdistWheel(bdist_wheel):
    """Name the platform that the loops were compiled for."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of Python, ABI and platform."""
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if self.root_is_pure else ("py3", "none", platform)


class WithLoops(Distribution):
    """A package for one platform, if there is a compiler."""

    def has_ext_modules(self) -> bool:
        """Return whether anything is compiled."""
        return sources.compiler() is not None


setup(
    distclass=WithLoops,
    cmdclass={"build_py": BuildPy, "bdist_wheel": BdistWheel},
    setup_requires=[] if sources.compiler() else [ZIGLANG],
)
