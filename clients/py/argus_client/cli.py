"""The command line ``argus``: look at a running hub from a shell.

Exit codes: 0 done, or the reader of a pipe has left; 1 an error, told in one line; 2 wrong usage; 130 Ctrl-C.
"""

import argparse
import asyncio
import io
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TextIO, TypeVar

from argus_client.columns import clock
from argus_client.connecting import connect
from argus_client.errors import ArgusError, TopicError
from argus_client.hub import Hub
from argus_client.messages import Gap
from argus_client.screen import OutputClosedError, Screen
from argus_client.since import parse_since, resolve_since
from argus_client.version import VERSION

DEFAULT_URL: Final = "ws://127.0.0.1:8765/ws"

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130


_ValueT = TypeVar("_ValueT")


class UsageError(Exception):
    """The command line or the environment can't be meant."""


async def tail(hub: Hub, args: argparse.Namespace, screen: Screen) -> None:
    """Print rows as they come, ``--count`` of them or until stopped. A hub that goes away is waited for."""
    since = await resolve_since(hub, args.topics, args.since)
    rows = await hub.subscribe(*args.topics, since=since, inline_gaps=True)
    shown = 0
    async for row in rows:
        if isinstance(row, Gap):
            screen.show_gap(row)
        else:
            screen.show(row)
            shown += 1
        if shown == args.count:
            return
        if not rows.queued:
            screen.flush()


async def topics(hub: Hub, args: argparse.Namespace, screen: Screen) -> None:
    """Print the topics that exist and match."""
    for info in await hub.topics(args.pattern):
        screen.show(info)


async def snapshot(hub: Hub, args: argparse.Namespace, screen: Screen) -> None:
    """Print the newest row of every topic that matches."""
    rows = await hub.snapshot(*args.topics)
    for row in rows:
        screen.show(row)
    if not rows:
        screen.remark("no row yet")


async def ping(hub: Hub, args: argparse.Namespace, screen: Screen) -> None:
    """Print how long the hub takes to answer, and its clock."""
    pong = await hub.ping()
    screen.show_facts(
        f"{hub.welcome.server} at {args.url} answered in {pong.round_trip_ms:.1f} ms; its time is {clock(pong.time)}",
        {"server": hub.welcome.server, "time": pong.time, "round_trip_ms": round(pong.round_trip_ms, 3)},
    )


Command = Callable[[Hub, argparse.Namespace, Screen], Awaitable[None]]


def main(argv: Sequence[str] | None = None, stdout: TextIO | None = None, stderr: TextIO | None = None) -> int:
    """Run one command and return its exit code. Streams default to the process's own."""
    args = _parser().parse_args(argv)
    stdout, stderr = stdout or sys.stdout, stderr or sys.stderr
    for stream in (stdout, stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console's code page may lack what a hub says
    screen = Screen(stdout, stderr, args.format)
    try:
        asyncio.run(_run(args, screen))
        screen.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OutputClosedError:
        screen.close()
        return EXIT_OK
    except (UsageError, TopicError) as error:
        screen.say(str(error))
        return EXIT_USAGE
    except (ArgusError, OSError) as error:
        screen.say(str(error))
        return EXIT_ERROR
    return EXIT_OK


async def _run(args: argparse.Namespace, screen: Screen) -> None:
    command: Command = args.command
    waits = command is tail  # the others are done sooner than a hub is back
    try:
        connecting = connect(
            args.url,
            token=_token(args.token_file),
            reconnect=waits,
            on_refused=lambda error: screen.say(str(error)),
            on_draining=lambda notice: screen.say(f"the hub is going to restart: {notice.reason}"),
            on_disconnect=lambda lost: screen.say(f"{lost}; trying again") if waits and lost.retryable else None,
            on_reconnect=lambda back: screen.say(f"connected again after {back.away_s:.1f} s"),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    async with connecting as hub:
        source = hub.welcome.source
        if source.simulated:
            screen.remark(f"simulated prices, not a market's (source: {source.name})")
        elif source.name == "recording":
            screen.remark("recorded data, played back")
        await command(hub, args, screen)


def _token(file: Path | None) -> str | None:
    """A token is never an argument: other users of the machine can read command lines."""
    if file is None:
        return os.environ.get("ARGUS_TOKEN") or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the token file: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="argus",
        allow_abbrev=False,  # or --token VALUE would pass for --token-file, and the token be told to everyone
        description="Look at a running Argus Hub. A token is read from ARGUS_TOKEN or from --token-file.",
    )
    parser.add_argument("--version", action="version", version=f"argus-client {VERSION}")
    _add_common(parser, url=os.environ.get("ARGUS_URL") or DEFAULT_URL, token_file=None, format="auto")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    one = _add_command(commands, "tail", tail)
    one.add_argument("topics", nargs="+", metavar="TOPIC", help="such as tick:600000.SH, 'tick:688*.SH', 'tick:*'")
    one.add_argument(
        "--since",
        type=_argument(parse_since),
        metavar="WHEN",
        help="none: new rows only; open: the whole trading day; epoch milliseconds; HH:MM:SS in Shanghai, on the day "
        "of the newest row. Default: begin with the newest row of each topic",
    )
    one.add_argument("--count", type=_argument(_positive), metavar="N", help="stop after N rows")

    one = _add_command(commands, "topics", topics)
    one.add_argument("pattern", metavar="PATTERN", help="such as 'tick:688*.SH'")

    one = _add_command(commands, "snapshot", snapshot)
    one.add_argument("topics", nargs="+", metavar="TOPIC", help="such as tick:600000.SH or 'tick:688*.SH'")

    _add_command(commands, "ping", ping)
    return parser


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, command: Command
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=command.__doc__, description=command.__doc__, allow_abbrev=False)
    # Suppressed, so that an option before the command is not set back to its default after it.
    _add_common(parser, url=argparse.SUPPRESS, token_file=argparse.SUPPRESS, format=argparse.SUPPRESS)
    parser.set_defaults(command=command)
    return parser


def _add_common(parser: argparse.ArgumentParser, **defaults: object) -> None:
    parser.add_argument("--url", default=defaults["url"], help=f"the hub; default ARGUS_URL, or {DEFAULT_URL}")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", default=defaults["token_file"], help="file with the token"
    )
    parser.add_argument(
        "--format",
        choices=("auto", "text", "json"),
        default=defaults["format"],
        help="text: aligned columns; json: a line each; auto: text in a terminal, else json",
    )


def _argument(parse: Callable[[str], _ValueT]) -> Callable[[str], _ValueT]:
    def parse_argument(text: str) -> _ValueT:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_argument


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"{text!r} is not a number above 0")
    return int(text)
