"""Layers of settings, one line for each mistake, and the example file."""

import re
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from hub.config import SettingsError, load, without_effect
from hub.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "hub.example.toml"
SECRET = "s3cret-of-the-desk"  # noqa: S105 - invented here
SECRETS = {"token", "feed_token", "xtquant_token"}

WriteToml = Callable[[str], str]


@pytest.fixture
def toml(tmp_path: Path) -> WriteToml:
    def write(content: str) -> str:
        path = tmp_path / "hub.toml"
        path.write_text(content, encoding="utf-8")
        return str(path)

    return write


def mistake(argv: list[str], environ: dict[str, str] | None = None) -> str:
    """The only line of the error."""
    with pytest.raises(SettingsError) as caught:
        load(argv, environ or {})
    message = str(caught.value)
    assert message.splitlines() == [message]
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


def test_nothing_given_means_defaults() -> None:
    assert load([], {}) == Settings()


def test_the_file_wins_over_defaults_the_environment_over_the_file_and_options_over_all(toml: WriteToml) -> None:
    path = toml("port = 1\nsymbols = 2\nseed = 3\nring_rows = 4")
    environ = {"ARGUS_SYMBOLS": "20", "ARGUS_SEED": "30", "ARGUS_RING_ROWS": "40"}
    settings = load(["--config", path, "--seed", "300", "--ring-rows", "400"], environ)
    assert (settings.port, settings.symbols, settings.seed, settings.ring_rows) == (1, 20, 300, 400)
    assert settings.interval == Settings().interval


def test_a_later_layer_replaces_lists_and_universes_whole(toml: WriteToml) -> None:
    path = toml('faults = ["silence@1+1"]\n[universes]\nold = ["*.SH"]')
    settings = load(["--config", path, "--faults", "crash@2"], {"ARGUS_UNIVERSES": '{"new": ["*.SZ"]}'})
    assert settings.faults == ("crash@2",)
    assert settings.universes == {"new": ("*.SZ",)}


def test_the_environment_can_name_the_file_and_an_option_another(toml: WriteToml, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("port = 2")
    environ = {"ARGUS_CONFIG": toml("port = 1")}
    assert load([], environ).port == 1
    assert load(["--config", str(other)], environ).port == 2


def example_values() -> dict[str, tuple[str, object]]:
    """Another value than the default for every setting: as text, and as it is read."""
    return {
        "host": ("localhost", "localhost"),
        "port": ("1", 1),
        "insecure": ("true", True),
        "token": (SECRET, SECRET),
        "token_file": ("", None),
        "allowed_origins": ("https://a.example", ("https://a.example",)),
        "source": ("xtquant", "xtquant"),
        "symbols": ("7", 7),
        "interval": ("0.5", 0.5),
        "seed": ("9", 9),
        "speed": ("0", 0.0),
        "sim_start": ("09:15", "09:15:00"),
        "faults": ("crash@2", ("crash@2",)),
        "recording": ("", None),
        "record": ("out.csv", "out.csv"),
        "xtquant_folder": ("vendor", "vendor"),
        "xtquant_addresses": ("qmt:58611", ("qmt:58611",)),
        "xtquant_sectors": ("我的自选", ("我的自选",)),
        "xtquant_universes": ("沪深300", ("沪深300",)),
        "xtquant_refresh_at": ("08:50", "08:50:00"),
        "xtquant_probe_at": ("09:10", "09:10:00"),
        "xtquant_token": (SECRET, SECRET),
        "xtquant_token_file": ("", None),
        "xtquant_servers": ("10.0.0.1:55300", ("10.0.0.1:55300",)),
        "xtquant_markets": ("SH", ("SH",)),
        "role": ("all", "all"),
        "redis": ("", ""),
        "relay_name": ("other", "other"),
        "relay_shards": ("4", 4),
        "relay_rows": ("5000", 5000),
        "warm_rows": ("5000", 5000),
        "edge_topics": ("tick:600000.SH", ("tick:600000.SH",)),
        "to": ("", ""),
        "feed_buffer_bytes": ("5000000", 5_000_000),
        "end_with_stdin": ("false", False),
        "isolate_source": ("true", True),
        "feed_token": (SECRET, SECRET),
        "feed_token_file": ("", None),
        "data": ("elsewhere", "elsewhere"),
        "journal": ("true", True),
        "journal_days": ("9", 9),
        "journal_bytes": ("20000000", 20_000_000),
        "log_format": ("json", "json"),
        "log_level": ("debug", "debug"),
        "log_file": ("hub.log", Path("hub.log")),
        "compression": ("true", True),
        "universes": ('{"a": ["*.SH"]}', {"a": ("*.SH",)}),
    } | {
        name: ("5000000", 5_000_000) if "bytes" in name else ("30", 30)
        for name in Settings.model_fields
        if name.startswith(("ring_", "max_")) or name.endswith(("_s", "_ms"))
    }


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_read_from_the_environment(name: str) -> None:
    text, expected = example_values()[name]
    value = getattr(load([], {f"ARGUS_{name.upper()}": text}), name)
    if name in SECRETS:
        value = value.get_secret_value()
    assert value == expected or str(value) == expected


_FEED, _EDGE = (["--role", role, "--redis", "redis://127.0.0.1"] for role in ("feed", "edge"))
_FITTING = {
    **dict.fromkeys(("relay_name", "relay_shards", "relay_rows", "relay_lease_s"), _FEED),
    **dict.fromkeys(("warm_rows", "edge_topics"), _EDGE),
}
"""The role that an option has to be given with."""


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name not in SECRETS])
def test_every_setting_but_a_token_is_an_option(name: str) -> None:
    text, expected = example_values()[name]
    option = "--" + name.replace("_", "-")
    switch = {True: [option], False: [option.replace("--", "--no-")]}
    given = switch[expected] if isinstance(expected, bool) else [option, text]
    given += _FITTING.get(name, [])
    value = getattr(load(given, {}), name)
    assert value == expected or str(value) == expected


FEEDER = ["--role", "feeder", "--to", "ws://127.0.0.1:8765/feed"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([*_EDGE, "--source", "sim"], "--source has no effect with role edge (it is for all, feed and feeder)"),
        ([*_EDGE, "--symbols", "7"], "--symbols has no effect with role edge (it is for all, feed and feeder)"),
        ([*_EDGE, "--faults", "crash@2"], "--faults has no effect with role edge (it is for all, feed and feeder)"),
        ([*_EDGE, "--no-journal"], "--no-journal has no effect with role edge (it is for all and feed)"),
        ([*_EDGE, "--journal-days", "3"], "--journal-days has no effect with role edge (it is for all and feed)"),
        ([*_EDGE, "--relay-rows", "5"], "--relay-rows has no effect with role edge (it is for feed)"),
        ([*_FEED, "--edge-topics", "tick:a.SH"], "--edge-topics has no effect with role feed (it is for edge)"),
        ([*_FEED, "--warm-rows", "5"], "--warm-rows has no effect with role feed (it is for edge)"),
        (["--relay-name", "argus"], "--relay-name has no effect with role all (it is for feed and edge)"),
        ([*FEEDER, "--no-journal"], "--no-journal has no effect with role feeder (it is for all and feed)"),
    ],
)
def test_an_option_that_has_no_effect_in_the_role_is_told(options: list[str], told: str) -> None:
    assert list(without_effect(options, load(options, {}).role)) == [told]


def test_an_option_that_has_an_effect_is_not_told() -> None:
    assert list(without_effect([*_FEED, "--symbols", "7", "--relay-name", "x", "--no-journal"], "feed")) == []


@pytest.mark.parametrize("role", ["feed", "edge"])
def test_file_and_environment_may_be_shared_by_all_roles(role: str, toml: WriteToml) -> None:
    shared = toml('symbols = 7\nrelay_rows = 5\nwarm_rows = 5\njournal_days = 3\nrelay_name = "x"')
    environ = {"ARGUS_REDIS": "redis://127.0.0.1", "ARGUS_JOURNAL": "false", "ARGUS_SEED": "2", "ARGUS_CONFIG": shared}
    settings = load(["--role", role], environ)
    assert (settings.role, settings.relay_rows, settings.seed, settings.journal) == (role, 5, 2, False)


def test_the_topics_of_an_edge_are_named_one_by_one(toml: WriteToml) -> None:
    path = toml('edge_topics = ["tick:@banks", "1m:600000.SH"]\n[universes]\nbanks = ["600000.SH"]\nall = ["6*"]')
    assert load([*_EDGE, "--config", path], {}).edge_topics == ("tick:@banks", "1m:600000.SH")
    wrong = "edge_topics: 'tick:@all' selects by the pattern '6*': every topic has to be named"
    assert mistake([*_EDGE, "--config", path, "--edge-topics", "tick:@all"]) == wrong
    assert mistake([*_EDGE, "--edge-topics", "600000.SH"]).startswith("edge_topics: '600000.SH' is not a topic")
    assert load(["--config", path], {"ARGUS_EDGE_TOPICS": "tick:*"}).role == "all"  # it is passed over


def test_the_settings_of_a_feeder_are_read_from_anywhere(toml: WriteToml) -> None:
    """They make sense together only."""
    expected = Settings(role="feeder", to="ws://hub.example:8765/feed", end_with_stdin=True)
    assert load(["--role", "feeder", "--to", expected.to, "--end-with-stdin"], {}) == expected
    environ = {"ARGUS_ROLE": "feeder", "ARGUS_TO": expected.to, "ARGUS_END_WITH_STDIN": "yes"}
    assert load([], environ) == expected
    path = toml(f'role = "feeder"\nto = "{expected.to}"\nend_with_stdin = true')
    assert load(["--config", path], {}) == expected


def test_a_wrong_address_of_a_hub_gives_one_line_without_credentials() -> None:
    message = mistake(["--role", "feeder", "--to", "hub:8765"])
    assert message.startswith("--to: should be a hub's address such as ws://")
    assert message.endswith("not 'hub:8765'")
    assert SECRET not in mistake(["--role", "feeder", "--to", f"ws://me:{SECRET}@hub:8765/feed"])


def test_a_switch_can_be_turned_off_again() -> None:
    assert load(["--no-compression"], {"ARGUS_COMPRESSION": "yes"}).compression is False


def test_a_list_is_an_option_given_again_or_text_with_commas_or_json_in_the_environment() -> None:
    expected = ("crash@1", "silence@2+3")
    assert load(["--faults", "crash@1", "--faults", "silence@2+3"], {}).faults == expected
    assert load([], {"ARGUS_FAULTS": "crash@1, silence@2+3"}).faults == expected
    assert load([], {"ARGUS_FAULTS": '["crash@1", "silence@2+3"]'}).faults == expected
    assert load([], {"ARGUS_FAULTS": ""}).faults == ()


def test_the_client_s_own_variable_and_foreign_ones_are_passed_over() -> None:
    assert load([], {"ARGUS_URL": "ws://127.0.0.1:8765/ws", "PATH": "/bin", "NOT_ARGUS_PORT": "x"}) == Settings()


def test_a_wrong_value_in_the_file_names_key_and_file(toml: WriteToml) -> None:
    path = toml("port = 70000")
    assert mistake(["--config", path]) == f"port in {path}: should be a whole number from 0 to 65535, not 70000"


def test_a_wrong_value_in_the_environment_names_the_variable() -> None:
    assert mistake([], {"ARGUS_SPEED": "fast"}) == "ARGUS_SPEED: should be a number from 0 to 100000, not 'fast'"


def test_a_wrong_value_of_an_option_names_the_option() -> None:
    expected = "--log-format: should be one of console, json, not 'xml'"
    assert mistake(["--log-format", "xml"]) == expected


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--sim-start", "930"], "--sim-start: should be a time of day such as 09:30:00, not '930'"),
        (["--universes", "{"], "--universes: should be JSON"),
        (["--universes", "[]"], "--universes: should be named lists of codes"),
        (["--allowed-origins", "a.example"], "--allowed-origins: should be an origin such as"),
        (["--port"], "--port: expected one argument"),
        (["--seed", "-1"], "--seed: should be a whole number from 0"),
        (["--source", "recording"], "source is recording: recording should name the file"),
        (["--host", "0.0.0.0"], "host 0.0.0.0 can be reached from other machines"),  # noqa: S104
    ],
)
def test_a_wrong_option_gives_one_line(argv: list[str], complaint: str) -> None:
    assert mistake(argv).startswith(complaint)


def test_wrong_type_in_the_file_gives_one_line(toml: WriteToml) -> None:
    assert "insecure in " in mistake(["--config", toml("insecure = [1]")])
    assert "should be true or false" in mistake(["--config", toml("insecure = [1]")])
    assert "host in " in mistake(["--config", toml("host = 5")])
    assert "should be a valid string" in mistake(["--config", toml("host = 5")])


def test_an_unknown_key_in_the_file_is_a_mistake(toml: WriteToml) -> None:
    path = toml("prot = 1")
    assert mistake(["--config", path]) == f"prot in {path}: unknown setting (did you mean port?)"
    path = toml("[server]\nport = 1")
    assert mistake(["--config", path]).startswith(f"server in {path}: unknown setting")


def test_an_unknown_variable_is_a_mistake() -> None:
    assert mistake([], {"ARGUS_RING_ROW": "1"}) == "ARGUS_RING_ROW: unknown setting (did you mean ring_rows?)"


def test_an_unknown_option_is_a_mistake() -> None:
    assert mistake(["--rign-rows", "1"]) == "--rign-rows: unknown option (did you mean --ring-rows?)"
    assert mistake(["--zzzzzz"]) == "--zzzzzz: unknown option"
    assert mistake(["hub.toml"]).startswith("'hub.toml': is not expected here")


def test_an_option_may_not_be_shortened() -> None:
    assert mistake(["--record-it", "x"]).startswith("--record-it: unknown option")
    assert mistake(["--symbol", "5"]) == "--symbol: unknown option (did you mean --symbols?)"


@pytest.mark.parametrize(
    "argv",
    [["--token", SECRET], [f"--token={SECRET}"], [f"--tokn={SECRET}"], [f"--feed-token={SECRET}"]],
)
def test_the_token_is_no_option_and_is_not_repeated(argv: list[str]) -> None:
    message = mistake(argv)
    assert SECRET not in message
    assert message.startswith(argv[0].partition("=")[0])


def test_a_wrong_token_is_not_repeated(toml: WriteToml) -> None:
    message = mistake([], {"ARGUS_TOKEN": "pa ss wo rd"})
    assert message == "ARGUS_TOKEN: should be visible ASCII without spaces, at most 4096 characters"
    assert "12345" not in mistake(["--config", toml("token = 12345")])
    message = mistake([], {"ARGUS_FEED_TOKEN": "pa ss wo rd"})
    assert message == "ARGUS_FEED_TOKEN: should be visible ASCII without spaces, at most 4096 characters"


def test_all_mistakes_are_told_one_line_each(toml: WriteToml) -> None:
    argv = ["--config", toml("prot = 1\nsymbols = 0"), "--seed", "x"]
    with pytest.raises(SettingsError) as caught:
        load(argv, {"ARGUS_HORST": "a", "ARGUS_SPEED": "-1"})
    lines = str(caught.value).splitlines()
    assert sorted(line.split()[0].rstrip(":") for line in lines) == [
        "--seed",
        "ARGUS_HORST",
        "ARGUS_SPEED",
        "prot",
        "symbols",
    ]


def test_line_breaks_in_what_the_user_gave_do_not_break_the_line(toml: WriteToml) -> None:
    assert "a b in " in mistake(["--config", toml('"a\\nb" = 1')])


def test_a_long_value_is_shortened() -> None:
    assert len(mistake([], {"ARGUS_PORT": "1" * 10_000})) < 120


def test_a_missing_file_is_a_mistake(tmp_path: Path) -> None:
    path = str(tmp_path / "absent.toml")
    assert mistake(["--config", path]) == f"{path}: cannot be read: No such file or directory"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert mistake(["--config", str(tmp_path)]).startswith(f"{tmp_path}: cannot be read: ")


@pytest.mark.parametrize("content", [b"port = ", b"port = 1\nport = 2", b"\xff\xfe", b"[universes", b"\x00"])
def test_a_file_that_is_no_toml_is_a_mistake(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hub.toml"
    path.write_bytes(content)
    assert mistake(["--config", str(path)]).startswith(f"{path}: is not valid TOML: ")


def test_help_names_every_option_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(["--help"], {})
    assert caught.value.code == 0
    usage = capsys.readouterr().out
    for name in Settings.model_fields.keys() - SECRETS | {"config", "version"}:
        assert re.search(rf"^  --{name.replace('_', '-')}\b", usage, re.MULTILINE), name
    assert re.search(r"--token\b(?!-)", usage) is None


def test_version_is_printed_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(["--version"], {})
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"argus-hub {version('argus-hub')}\n"


def test_the_example_loads_and_gives_the_defaults() -> None:
    assert load(["--config", str(EXAMPLE)], {}) == Settings()


def test_the_example_has_every_setting_in_order_and_nothing_else() -> None:
    assert list(tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))) == list(Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_example_explains_every_setting(name: str) -> None:
    blocks = EXAMPLE.read_text(encoding="utf-8").split("\n\n")
    (block,) = (block for block in blocks if re.search(rf"^(\[{name}\]|{name} = .*)$", block, re.MULTILINE))
    *comment, setting = block.strip().splitlines()
    assert all(line.startswith("#") for line in comment)
    text = " ".join(line.removeprefix("#").strip() for line in comment)
    assert re.search(rf"\bARGUS_{name.upper()}\b", text)
    default = setting.partition(" = ")[2] or "{}"
    assert re.search(rf"\b[Dd]efault {re.escape(default)}(?![\w\d])", text)
    schema = Settings.model_json_schema()["properties"][name]
    if "minimum" in schema:
        assert f"From {schema['minimum']} to {schema['maximum']}" in text
    for choice in schema.get("enum", ()):
        assert f'"{choice}"' in text
