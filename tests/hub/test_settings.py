"""What ``Settings`` accepts, refuses and never shows."""

from datetime import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hub.settings import Settings

SECRET = "s3cret-of-the-desk"  # noqa: S105 - invented here

BOUNDED = {
    name: (schema["minimum"], schema["maximum"])
    for name, schema in Settings.model_json_schema()["properties"].items()
    if schema.get("type") in ("integer", "number")
}


def given(**values: Any) -> Settings:
    """Values as a file or a variable gives them, not yet of the right type."""
    return Settings(**values)


def wrong(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        given(**values)
    return str(caught.value)


def test_every_number_has_bounds() -> None:
    assert {"port", "interval", "ring_bytes", "ping_timeout_s"} <= BOUNDED.keys()
    numbers = {name for name, field in Settings.model_fields.items() if field.annotation in (int, float)}
    assert numbers == BOUNDED.keys()


@pytest.mark.parametrize("name", BOUNDED)
def test_a_number_is_taken_at_its_bounds_and_refused_beyond(name: str) -> None:
    least, most = BOUNDED[name]
    for bound in (least, most):
        assert getattr(given(**{name: bound}), name) == bound
    for beyond in (least - 1, most + 1):
        wrong(**{name: beyond})


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), "nan", "inf", True, "", "abc", None])
def test_what_is_no_finite_number_is_refused(name: str, value: object) -> None:
    wrong(**{name: value})


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_settings_do_not_read_the_environment_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGUS_PORT", "1234")
    assert Settings().port == 8765


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "::1"])
def test_loopback_needs_no_token(host: str) -> None:
    assert given(host=host).access_token == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "hub.example", "127.1", "128.0.0.1", "fe80::1"])  # noqa: S104
def test_any_other_host_needs_a_token_or_insecure(host: str) -> None:
    assert f"host {host} can be reached from other machines" in wrong(host=host)
    assert given(host=host, token=SECRET).access_token == SECRET
    assert given(host=host, insecure=True).access_token == ""


@pytest.mark.parametrize("host", ["", " ", "[::1]", "a b", "http://a", "localhost:80", "-a", "300::1::"])
def test_what_is_no_host_is_refused(host: str) -> None:
    assert "should be an IP address" in wrong(host=host, insecure=True)


@pytest.mark.parametrize("token", ["with space inside", "umlaut-äöü-token", "line\nbreak-token"])
def test_a_token_that_fits_no_header_is_refused_without_being_shown(token: str) -> None:
    message = wrong(token=token)
    assert "should be visible ASCII" in message
    assert token not in message


def test_a_token_file_gives_the_token_without_its_line_break(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\r\n")
    settings = given(host="0.0.0.0", token_file=file)  # noqa: S104
    assert settings.access_token == SECRET


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe\x00", "holds no text"),
        (b"two words", "should be visible ASCII"),
    ],
)
def test_a_token_file_without_a_usable_token_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    message = wrong(token_file=file)
    assert complaint in message
    assert str(file) in message


def test_a_token_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "No such file" in wrong(token_file=tmp_path / "absent")


def test_token_and_token_file_together_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    assert "both set" in wrong(token=SECRET, token_file=file)


def test_the_token_is_in_no_representation(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    for settings in (given(token=SECRET), given(token_file=file)):
        assert settings.access_token == SECRET
        for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
            assert SECRET not in shown


def test_no_error_about_another_setting_shows_the_token() -> None:
    assert SECRET not in wrong(token=SECRET, port=-1)
    assert SECRET not in wrong(token=SECRET, source="recording")
    assert SECRET not in wrong(token=[SECRET])


def test_a_recording_is_needed_exactly_with_that_source() -> None:
    assert given(source="recording", recording="ticks.csv").recording == Path("ticks.csv")
    assert "recording should name the file" in wrong(source="recording")
    assert "recording is set, but source is sim" in wrong(recording="ticks.csv")


def test_a_recording_is_not_overwritten_by_recording_itself(tmp_path: Path) -> None:
    same = f"{tmp_path}/sub/../ticks.csv"
    assert "overwrite" in wrong(source="recording", recording=tmp_path / "ticks.csv", record=same)
    assert given(source="recording", recording=tmp_path / "ticks.csv", record=tmp_path / "copy.csv")


def test_an_empty_path_means_none() -> None:
    settings = given(recording="", record="", token_file="")
    assert (settings.recording, settings.record, settings.token_file) == (None, None, None)


def test_faults_go_with_the_simulator_only() -> None:
    assert given(faults=["silence@30+15"]).faults == ("silence@30+15",)
    assert "simulator only" in wrong(source="recording", recording="ticks.csv", faults=["silence@30+15"])
    assert "should not be empty" in wrong(faults=[" "])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("09:15", time(9, 15)), ("09:15:30", time(9, 15, 30)), ("00:00", time(0)), (time(14, 57), time(14, 57))],
)
def test_the_time_of_day_is_read(text: str | time, expected: time) -> None:
    assert given(sim_start=text).sim_start == expected


@pytest.mark.parametrize("value", [930, "930", "9:30", "24:00", "09:60", "09:30Z", "09:30:00.5", "", None, 0.5])
def test_what_is_no_time_of_day_is_refused(value: object) -> None:
    assert "should be a time of day such as 09:30:00" in wrong(sim_start=value)


def test_origins_are_compared_in_lower_case() -> None:
    assert given(allowed_origins=["HTTPS://Desk.Example:8443"]).allowed_origins == ("https://desk.example:8443",)


@pytest.mark.parametrize(
    "origin", ["desk.example", "https://desk.example/", "https://a/b", "*", "null", "", "https://"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    assert "should be an origin" in wrong(allowed_origins=[origin])


def test_universes_hold_codes_and_patterns_by_name() -> None:
    universes = {"沪深A股": ["*.SH", "*.SZ"], "banks": "600000.SH, 601398.SH"}
    assert given(universes=universes).universes == {"沪深A股": ("*.SH", "*.SZ"), "banks": ("600000.SH", "601398.SH")}


@pytest.mark.parametrize(
    ("universes", "complaint"),
    [
        ({"banks": ["6000 00.SH"]}, "neither a code nor a pattern"),
        ({"banks": ["tick:600000.SH"]}, "neither a code nor a pattern"),
        ({"banks": ["600000"]}, "neither a code nor a pattern"),
        ({"banks": ["@banks"]}, "neither a code nor a pattern"),
        ({"banks": [""]}, "neither a code nor a pattern"),
        ({"": ["600000.SH"]}, "no name of a universe"),
        ({"a b": ["600000.SH"]}, "no name of a universe"),
        ({"@banks": ["600000.SH"]}, "no name of a universe"),
        (["600000.SH"], "should be named lists of codes"),
        ({"banks": 5}, "universes.banks"),
    ],
)
def test_what_is_no_universe_is_refused(universes: object, complaint: str) -> None:
    assert complaint in wrong(universes=universes)


def test_a_feeder_needs_to_know_its_hub_and_only_a_feeder_does() -> None:
    assert given(role="feeder", to="ws://hub.example:8765/feed").to == "ws://hub.example:8765/feed"
    assert "to should name the hub" in wrong(role="feeder")
    assert "role is all" in wrong(to="ws://hub.example:8765/feed")


@pytest.mark.parametrize("to", ["ws://127.0.0.1:8765/feed", "wss://hub.example/argus/feed", "ws://[::1]:9000/feed"])
def test_a_hub_s_address_is_taken_as_it_is(to: str) -> None:
    assert given(role="feeder", to=to).to == to


@pytest.mark.parametrize(
    "to",
    [
        "hub.example:8765",
        "http://hub.example:8765/feed",
        "ws://",
        "ws:///feed",
        "ws://hub.example:8765",
        "ws://hub.example:8765/",
        "ws://hub.example:port/feed",
        "ws://hub.example:70000/feed",
        "ws://[::1/feed",
        "ws://user:secret@hub.example/feed",
        "ws://hub.example/feed?token=secret",
        "ws://hub.example/feed#top",
        "ws://hub example/feed",
    ],
)
def test_what_is_no_hub_s_address_is_refused(to: str) -> None:
    assert "should be a hub's address such as ws://" in wrong(role="feeder", to=to)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"source": "feed"}, "source of its own"),
        ({"isolate_source": True}, "isolate_source is for hubs"),
        ({"feed_token": SECRET}, "feed_token is for hubs"),
        ({"feed_token_file": "feed.token"}, "feed_token is for hubs"),
    ],
)
def test_what_makes_no_sense_for_a_feeder_is_refused(values: dict[str, Any], complaint: str) -> None:
    assert complaint in wrong(role="feeder", to="ws://hub.example:8765/feed", **values)


def test_what_makes_no_sense_for_a_hub_is_refused() -> None:
    assert "none to isolate" in wrong(source="feed", isolate_source=True)
    assert "for feeders" in wrong(end_with_stdin=True)
    assert given(source="feed").source == "feed"


def test_a_feeder_listens_nowhere_so_its_host_needs_no_token() -> None:
    """Both may be started with one file of settings."""
    assert given(role="feeder", to="ws://hub.example:8765/feed", host="0.0.0.0").access_token == ""  # noqa: S104


def test_feeders_show_the_feed_token_and_where_there_is_none_that_of_the_hub(tmp_path: Path) -> None:
    file = tmp_path / "feed.token"
    file.write_text("for-feeders\n")
    assert given().feeding_token == ""
    assert given(token=SECRET).feeding_token == SECRET
    assert given(token=SECRET, feed_token="for-feeders").feeding_token == "for-feeders"  # noqa: S105, S106
    settings = given(token=SECRET, feed_token_file=file)
    assert (settings.feeding_token, settings.access_token) == ("for-feeders", SECRET)
    assert "both set" in wrong(feed_token=SECRET, feed_token_file=file)
    assert "feed_token_file" in wrong(feed_token_file=tmp_path / "absent")
    for shown in (repr(settings), settings.model_dump_json()):
        assert "for-feeders" not in shown
