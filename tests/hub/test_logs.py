"""How log lines look, in both styles, and what is not worth one."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from hub.logs import configure_logging


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", "websockets", "websockets.server")]
    before = [(logger.level, logger.handlers[:], logger.filters[:]) for logger in loggers]
    yield
    for logger, (level, handlers, filters) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:], logger.filters[:] = handlers, filters


def test_on_a_console_a_line_has_time_level_logger_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("console", "info")
    logging.getLogger("argus.test").warning("row %d refused: %s", 3, "time zero")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.endswith(" WARNING argus.test: row 3 refused: time zero")
    assert line[:4].isdigit()


def test_in_json_every_line_is_an_object_with_the_same_four_keys(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info")
    logging.getLogger("argus.test").warning('a "quoted" word, 沪深, and\na second line')
    logging.getLogger("argus.test").info("plain")
    out, err = capsys.readouterr()
    assert out == ""
    lines = [json.loads(line) for line in err.splitlines()]
    assert [(line["level"], line["logger"], line["message"]) for line in lines] == [
        ("WARNING", "argus.test", 'a "quoted" word, 沪深, and\na second line'),
        ("INFO", "argus.test", "plain"),
    ]
    assert all(set(line) == {"time", "level", "logger", "message"} for line in lines)
    assert all(line["time"] for line in lines)


def test_in_json_a_traceback_stays_within_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info")
    try:
        raise RuntimeError("the terminal is gone")
    except RuntimeError:
        logging.getLogger("argus").exception("the source failed", extra={"session": "s-1"})
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert "RuntimeError: the terminal is gone" in entry["exc_info"]
    assert entry["session"] == "s-1"


@pytest.mark.parametrize("style", ["console", "json"])
@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_what_is_below_the_level_is_not_logged(
    style: str, level: str, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(style, level)
    logger = logging.getLogger("argus.test")
    for log in (logger.debug, logger.info, logger.warning, logger.error):
        log("a line")
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_the_last_configuration_holds_and_no_line_comes_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("console", "debug")
    configure_logging("json", "error")
    logging.getLogger("argus").warning("not any more")
    logging.getLogger("argus").error("once")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "once"
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr


def test_the_coming_and_going_of_connections_is_logged_when_debugging_only(capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("websockets.server")
    configure_logging("console", "info")
    library.info("connection open")
    library.debug("> HTTP/1.1 400 Bad Request")
    assert capsys.readouterr().err == ""
    configure_logging("console", "debug")
    for line in ("connection open", "opening handshake failed"):
        library.info(line)
        assert line in capsys.readouterr().err


def test_a_page_or_a_session_that_failed_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """The library answers with "see server log for more information", and logs what the hub's own code raised."""
    configure_logging("console", "info")
    library = logging.getLogger("websockets.server")
    for failure in ("process_request failed", "connection handler failed"):
        library.error(failure)
        assert failure in capsys.readouterr().err
    library.error("opening handshake failed")
    assert capsys.readouterr().err == "", "a port scanner fills the log"
