"""The published package xtquant, in a folder of its own, with the scripted native module beside it.

It is closed source: it is downloaded from the package index that pip is set up with, into a folder that git ignores,
and nothing of it is part of the project. Without an index its tests are skipped, and say so.
"""

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

VERSION: Final = "250807.1.2"
FOLDER: Final = Path(__file__).parents[4] / ".cache" / f"xtquant-{VERSION}"
NATIVE: Final = Path(__file__).parents[1] / "native" / "datacenter.py"

DOWNLOAD_S: Final = 300


def install() -> Path:
    """The folder to import xtquant from. Raises subprocess.CalledProcessError where it can't be downloaded.

    Several test processes may do so at once: each makes its own, and the first to be ready is taken.
    """
    if not (FOLDER / "xtquant" / "xtdata.py").is_file():
        FOLDER.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER.parent) as scratch:
            beside = Path(scratch) / "site"
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
            subprocess.run(
                [*command, "--no-deps", "--no-compile", "--target", str(beside), f"xtquant=={VERSION}"],
                check=True,
                timeout=DOWNLOAD_S,
                capture_output=True,
                text=True,
            )
            with contextlib.suppress(OSError):  # another was ready before
                beside.rename(FOLDER)
    target = FOLDER / "xtquant" / NATIVE.name
    if not target.is_file() or target.read_bytes() != NATIVE.read_bytes():
        with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as file:
            file.write(NATIVE.read_bytes())
        Path(file.name).replace(target)
    return FOLDER


def installed() -> Path:
    """The same for a test, which is skipped where it can't be had."""
    try:
        return install()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"xtquant {VERSION} can't be downloaded: {error.stderr.strip()[-300:]}")
    except subprocess.TimeoutExpired:
        pytest.skip(f"xtquant {VERSION} can't be downloaded within {DOWNLOAD_S} s")
