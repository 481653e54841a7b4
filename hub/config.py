"""Reads the settings: defaults, then a TOML file, then ``ARGUS_*`` variables, then options; the later wins.

Each value keeps where it came from, so that each mistake is answered with one line that names the place to mend.
"""

import argparse
import difflib
import importlib.metadata
import reprlib
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hub.roles import roles_with
from hub.settings import Settings

__all__ = ["Settings", "SettingsError", "load"]

PREFIX: Final = "ARGUS_"

CLIENT_VARIABLES: Final = frozenset({"ARGUS_URL"})
"""Variables that the client reads: the hub passes over them. Any other unknown ``ARGUS_*`` is taken for a typo."""

_CONFIG: Final = f"{PREFIX}CONFIG"
_SECRETS: Final = frozenset({"token", "feed_token", "xtquant_token"})

_SCHEMAS: Final[Mapping[str, Any]] = Settings.model_json_schema()["properties"]


class SettingsError(Exception):
    """One or more mistakes in the settings. The text is for the user: a line for each, and never a secret."""

    def __init__(self, *mistakes: str) -> None:
        # A name or a path that the user gave may hold line breaks.
        super().__init__("\n".join(" ".join(mistake.split()) for mistake in mistakes))


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the settings from the options ``argv`` (without the program's name) and the variables ``environ``.

    Raises ``SettingsError``, one line for each mistake. ``--help`` and ``--version`` print and raise ``SystemExit(0)``.
    """
    options = _parse(argv)
    config = options.pop("config", None) or environ.get(_CONFIG)
    mistakes: list[str] = []
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in (_file(config) if config else (), _environment(environ), _options(options)):
        for name, origin, value in layer:
            if name in Settings.model_fields:
                values[name], origins[name] = value, origin
            else:
                mistakes.append(f"{origin}: unknown setting{_hint(name)}")
    try:
        settings = Settings(**values)
    except ValidationError as error:
        mistakes += [_describe(detail, values, origins) for detail in error.errors(include_url=False)]
    else:
        if not mistakes:
            return settings
    # Not inside the except clause: a chained ValidationError could carry what must stay secret.
    raise SettingsError(*mistakes)


def without_effect(argv: Sequence[str], role: str) -> Iterator[str]:
    """A line for each of the options that can have no effect in a role, for a warning."""
    for name, value in _parse(argv).items():
        if roles := roles_with(name, role):
            option = _option(name if value is not False else f"no_{name}")
            yield f"{option} has no effect with role {role} (it is for {roles})"


def _file(path: str) -> Iterator[tuple[str, str, object]]:
    try:
        with Path(path).open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}") from None
    for name, value in content.items():
        yield name, f"{name} in {path}", value


def _environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, object]]:
    for variable, text in environ.items():
        if variable.startswith(PREFIX) and variable not in CLIENT_VARIABLES | {_CONFIG}:
            yield variable.removeprefix(PREFIX).lower(), variable, text


def _options(options: Mapping[str, object]) -> Iterator[tuple[str, str, object]]:
    for name, value in options.items():
        yield name, _option(name), value


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise SettingsError(message.removeprefix("argument ")) from None


def _parse(argv: Sequence[str]) -> dict[str, Any]:
    """The options that were given, by setting; values are texts, not yet checked."""
    parser = _Parser(
        prog="run_hub.py",
        description="Argus Hub: real-time ticks of China's A-share market over WebSocket.",
        epilog=f"Every setting can also stand in the file, or in the environment as {PREFIX}<NAME>. Options win over "
        f"the environment, the environment over the file. Tokens have no option, since other users of a machine "
        f"can read those: use {PREFIX}TOKEN or --token-file.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--doctor", action="store_true", help="check this machine and these settings, start nothing")
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings; see hub.example.toml")
    for name, schema in _SCHEMAS.items():
        if name in _SECRETS:
            continue
        described = schema["description"] + _in_brackets(schema)
        if schema.get("type") == "boolean":
            parser.add_argument(_option(name), action=argparse.BooleanOptionalAction, help=described)
        elif schema.get("type") == "array":
            parser.add_argument(_option(name), action="append", metavar="TEXT", help=f"{described}; can be repeated")
        else:
            parser.add_argument(_option(name), metavar=_metavar(schema), help=described)
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        # Only the name: what follows it might be a secret.
        raise SettingsError(_unknown_option(unknown[0].partition("=")[0]))
    options = vars(known)
    options.pop("doctor", None)  # whoever starts the program has looked for it
    if "@" in options.get("redis", ""):
        raise SettingsError(
            "--redis: with a user or password it is no option, since other users of a machine can read those: "
            f"use {PREFIX}REDIS or the file"
        )
    if options.pop("version", False):
        sys.stdout.write(f"argus-hub {importlib.metadata.version('argus-hub')}\n")
        raise SystemExit(0)
    return options


def _unknown_option(word: str) -> str:
    for secret in _SECRETS:
        if word == _option(secret):
            instead = f"{PREFIX}{secret.upper()} or {word}-file"
            return f"{word}: is no option, since other users of a machine can read those: use {instead}"
    if not word.startswith("-"):
        return f"{word!r}: is not expected here; the name of an option starts with --"
    return f"{word}: unknown option{_hint(word.removeprefix('--').replace('-', '_'), _option)}"


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _hint(name: str, written: Callable[[str], str] = str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, 1)
    return f" (did you mean {written(near[0])}?)" if near else ""


def _metavar(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "|".join(schema["enum"])
    if "anyOf" in schema:
        return "FILE"
    if schema.get("format") == "time":
        return "HH:MM:SS"
    return {"integer": "N", "number": "X", "object": "JSON"}.get(schema["type"], "TEXT")


def _in_brackets(schema: Mapping[str, Any]) -> str:
    """The range and the default, for the help text."""
    facts = [f"{schema['minimum']} to {schema['maximum']}"] if "minimum" in schema else []
    if schema["default"]:
        facts.append(f"default {schema['default']}")
    return f" ({', '.join(facts)})" if facts else ""


def _describe(error: ErrorDetails, values: Mapping[str, object], origins: Mapping[str, str]) -> str:
    """One line that says where a wrong value came from, what it should be and, unless it is secret, what it is."""
    if not error["loc"]:
        return str(error["ctx"]["error"])
    name = str(error["loc"][0])
    should = _allowed(_SCHEMAS[name]) or _reason(error)
    # An address of Redis may have a password, and somebody may have tried credentials in another one.
    is_secret = name in _SECRETS or (name in ("to", "redis") and "@" in str(values[name]))
    shown = "" if is_secret else f", not {reprlib.repr(values[name])}"
    return f"{origins[name]}: {should}{shown}"


def _allowed(schema: Mapping[str, Any]) -> str | None:
    """What a setting accepts, where type, choices or bounds say all of it."""
    if "enum" in schema:
        return f"should be one of {', '.join(schema['enum'])}"
    if schema.get("type") == "boolean":
        return "should be true or false"
    if "minimum" in schema:
        kind = "a whole number" if schema["type"] == "integer" else "a number"
        return f"should be {kind} from {schema['minimum']} to {schema['maximum']}"
    return None


def _reason(error: ErrorDetails) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return error["msg"].replace("Input should", "should")
