"""The compiled parts: built from their C sources when they are needed, into the benchmark's own folder."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent
PROGRAMS: Final = ("reader", "pacer", "limit")
OPTIONS: Final = ("-O2", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wno-unused-function")


def compiler() -> str | None:
    """The C compiler's path; None where there is none."""
    return shutil.which("gcc") or shutil.which("cc")


def build(cache: Path) -> dict[str, Path]:
    """Compile what has changed. Returns the programs by name.

    Raises:
        SystemExit: there is no compiler, or it refuses.
    """
    gcc = compiler()
    if gcc is None:
        raise SystemExit("the load reader is written in C, and there is no gcc (Debian: apt-get install gcc libc6-dev)")
    folder = cache / "native"
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in (*SOURCES.glob("*.[ch]"), Path(__file__)))
    programs = {name: folder / name for name in PROGRAMS}
    for name, program in programs.items():
        if program.exists() and program.stat().st_mtime > newest:
            continue
        built = subprocess.run(  # noqa: S603 - our own sources
            [gcc, *OPTIONS, "-o", str(program), str(SOURCES / f"{name}.c")], capture_output=True, text=True, check=False
        )
        if built.returncode:
            raise SystemExit(f"{name}.c cannot be compiled:\n{built.stderr}")
    return programs
