"""The compiled parts: built from their C sources when they are needed, into the benchmark's own folder."""

import shutil
import subprocess
from hashlib import sha256
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
    sources = sha256(b"".join(path.read_bytes() for path in sorted((*SOURCES.glob("*.[ch]"), Path(__file__)))))
    folder = cache / "native" / sources.hexdigest()[:16]  # so that other revisions can use the same cache
    folder.mkdir(parents=True, exist_ok=True)
    programs = {name: folder / name for name in PROGRAMS}
    for name, program in programs.items():
        if program.exists():
            continue
        part = program.with_suffix(".part")
        built = subprocess.run(  # noqa: S603 - our own sources
            [gcc, *OPTIONS, "-o", str(part), str(SOURCES / f"{name}.c")], capture_output=True, text=True, check=False
        )
        if built.returncode:
            raise SystemExit(f"{name}.c cannot be compiled:\n{built.stderr}")
        part.replace(program)
    return programs
