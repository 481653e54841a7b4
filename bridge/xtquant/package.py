"""Finds and imports the package xtquant, and says in words what is in the way.

Importing it asks the package index for a newer version, with a time-out of ten seconds, which on a host without
a way out would stall every start. So it is imported while ``requests``, by which it would ask, can't be had.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

DOCUMENT: Final = "docs/xtquant.md"

_ASKED_WITH: Final = "requests"


class PackageError(Exception):
    """The package can't be used here. The text is one line that says why, and what to do."""


def find_package(folder: Path | None) -> Path:
    """Where the package xtquant lies, without importing any of it.

    Raises PackageError where there is none, or its native modules don't fit this Python.
    """
    if folder is not None:
        found = folder / "xtquant"
        if not (found / "__init__.py").is_file():
            raise PackageError(f"there is no package xtquant in {folder} (xtquant_folder)")
    else:
        spec = importlib.util.find_spec("xtquant")
        if spec is None or spec.origin is None:
            raise PackageError("the package xtquant is not installed: pip install xtquant, or name xtquant_folder")
        found = Path(spec.origin).parent
    if not any((found / f"datacenter{suffix}").is_file() for suffix in importlib.machinery.all_suffixes()):
        version = f"Python {sys.version_info.major}.{sys.version_info.minor} on {sys.platform}"
        raise PackageError(
            f"xtquant in {found.parent} has no native module datacenter for {version}: its wheel is for 64-bit "
            f"Windows and Python 3.6 to 3.13, 3.11 is best; let a feeder run there ({DOCUMENT})"
        )
    return found


def load(folder: Path | None, module: str = "xtdata") -> ModuleType:
    """Import a module of xtquant. Raises PackageError.

    Call it on the thread that owns all calls: the native part is initialised by it.
    """
    find_package(folder)
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        with _without(_ASKED_WITH):
            return importlib.import_module(f"xtquant.{module}")
    except Exception as error:  # closed source: it raises what it likes, a bare Exception for its own configuration too
        raise PackageError(
            f"xtquant can't be imported ({type(error).__name__}: {error}); on Windows the Visual C++ runtime may be "
            f"missing, see {DOCUMENT}"
        ) from error


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Have an import of a module fail at once for a moment."""
    had, module = name in sys.modules, sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # which is how an import is told that there is no such module
    try:
        yield
    finally:
        if had:
            sys.modules[name] = module  # type: ignore[assignment]
        else:
            del sys.modules[name]
