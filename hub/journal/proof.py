"""The proof that nothing is missing at the end of the journal: a small file that says how far it was written.

It is written after every append, in place, and removed as soon as a row goes out that the journal does not have: both
work on a full disk. At the next start it decides between going on with the numbers and a new epoch. Without it nothing
is proven: numbers that a client has seen might be given out again.
"""

import struct
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final, NamedTuple, Self
from zlib import crc32

from hub.journal import disk
from hub.journal.lock import Lock

NAME: Final = "proof"
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

_LAYOUT: Final = struct.Struct("<4sQqq??16s64s")
_CHECK: Final = struct.Struct("<I")
_MAGIC: Final = b"AJP1"
_SLOT_BYTES: Final = 512  # a sector: two never share one, and a write within one is never torn by a kill
_CLOCK_STEP_S: Final = 10


def this_boot() -> str:
    """What is the same as long as the operating system runs, and with it what it holds of written files.

    Linux has an id for it. Elsewhere it is the time of the start, which moves a little when the clock is set.
    """
    with suppress(OSError):
        return BOOT_ID.read_text(encoding="ascii").strip()
    return f"since {time.time() - time.monotonic():.0f}"


def is_same_boot(one: str, other: str) -> bool:
    """Whether the operating system has run without interruption. In doubt it has not."""
    if one.startswith("since ") and other.startswith("since "):
        return abs(int(one.removeprefix("since ")) - int(other.removeprefix("since "))) <= _CLOCK_STEP_S
    return one == other


class Proof(NamedTuple):
    """How far the journal was written."""

    part: int
    length: int
    closed: bool
    """Nothing was written since everything was made durable."""
    durable: bool
    """Everything was made durable before it was shown to anybody."""
    epoch: str
    boot: str


class ProofFile:
    """The file, open for writing. Two places in it take turns, so that one is whole whatever happens."""

    def __init__(self, file: FileIO, path: Path, proof: Proof) -> None:
        self._file = file
        self._path = path
        self._turn = 0
        self._part = proof.part
        self._durable = proof.durable
        self._names = proof.epoch.encode(), proof.boot.encode()

    @classmethod
    def begin(cls, folder: Path, proof: Proof) -> Self:
        """Replace the old proof, in one step, and durably: after a power loss the old one must not speak again."""
        path, beside = folder / NAME, folder / f"{NAME}.new"
        part, length, closed, durable, epoch, boot = proof
        with disk.open_to_append(beside, 0) as file:
            disk.write_all(file, _to_bytes(0, part, length, closed, durable, epoch.encode(), boot.encode()))
            disk.make_durable(file)
        beside.replace(path)
        disk.make_folder_durable(folder)
        return cls(disk.open_to_append(path, 2 * _SLOT_BYTES), path, proof)

    def write(self, length: int, *, part: int = 0, closed: bool = False) -> None:
        """Say how far the journal is written now. ``part``: where it goes on in another one."""
        self._turn = turn = self._turn + 1
        self._part = part = part or self._part
        data = _to_bytes(turn, part, length, closed, self._durable, *self._names)
        disk.write_at(self._file, turn % 2 * _SLOT_BYTES, data)

    def make_durable(self) -> None:
        """Return when the proof will outlast a power loss."""
        disk.make_durable(self._file)

    def withdraw(self) -> bool:
        """Prove nothing any more; False when even that can't be done."""
        done = False
        with suppress(OSError):
            disk.write_at(self._file, 0, bytes(2 * _SLOT_BYTES))
            done = True
        self._file.close()
        with suppress(OSError):
            self._path.unlink()
            done = True
        return done

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_proof(folder: Path) -> Proof | None:
    """The proof that was left; None where there is none, or none that is whole."""
    try:
        data = (folder / NAME).read_bytes()
    except OSError:
        return None
    slots = [_parse(data[start : start + _LAYOUT.size + _CHECK.size]) for start in (0, _SLOT_BYTES)]
    return max((slot for slot in slots if slot is not None), default=(0, None), key=lambda slot: slot[0])[1]


def abandon_journal(folder: Path) -> None:
    """Say that rows go out which the journal in a folder, if there is one, does not have: for a hub without a journal.

    Raises:
        JournalInUseError: it is another process's, which says such things for itself.
        JournalError: that can't be written there.
    """
    try:
        if not (folder / NAME).exists():
            return
        lock = Lock(folder)
        try:
            (folder / NAME).unlink(missing_ok=True)
        finally:
            lock.release()
    except OSError as error:
        raise disk.JournalError(
            f"the journal {folder} cannot be told that rows go out without it ({disk.reason(error)}): "
            "delete it before the next start with a journal"
        ) from None


def _to_bytes(turn: int, part: int, length: int, closed: bool, durable: bool, epoch: bytes, boot: bytes) -> bytes:
    data = _LAYOUT.pack(_MAGIC, turn, part, length, closed, durable, epoch, boot)
    return data + _CHECK.pack(crc32(data))


def _parse(data: bytes) -> tuple[int, Proof] | None:
    body = data[: _LAYOUT.size]
    if len(data) != _LAYOUT.size + _CHECK.size or _CHECK.pack(crc32(body)) != data[_LAYOUT.size :]:
        return None
    magic, turn, part, length, closed, durable, epoch, boot = _LAYOUT.unpack(body)
    if magic != _MAGIC:
        return None
    return turn, Proof(part, length, closed, durable, epoch.decode(), boot.rstrip(b"\0").decode())
