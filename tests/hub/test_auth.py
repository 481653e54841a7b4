"""Who may connect: the token in a request and in a header, and the origins of browser pages."""

import pytest

from hub.auth import Token, origin_allowed

TOKEN = Token("s3cret-密")


def test_only_the_token_itself_is_accepted() -> None:
    assert TOKEN.accepts("s3cret-密")
    assert not any(TOKEN.accepts(shown) for shown in ("", "s3cret", "s3cret-密 ", "S3CRET-密", "s3cret-\ud800"))


@pytest.mark.parametrize("header", ["Bearer s3cret-密", "bearer s3cret-密", "BEARER  s3cret-密 "])
def test_the_header_carries_the_token_as_a_bearer(header: str) -> None:
    assert TOKEN.in_header(header)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic s3cret-密", "s3cret-密"])
def test_another_header_does_not(header: str) -> None:
    assert not TOKEN.in_header(header)


def test_a_program_that_is_no_browser_has_no_origin_and_may_connect() -> None:
    assert origin_allowed(None, "hub:8765", set())


@pytest.mark.parametrize("origin", ["http://hub:8765", "https://hub:8765", "http://HUB:8765"])
def test_a_page_of_the_same_host_may_connect(origin: str) -> None:
    assert origin_allowed(origin, "Hub:8765", set())


@pytest.mark.parametrize(
    "origin",
    ["http://hub", "http://hub:8766", "http://evil.example", "http://hub:8765.evil.example", "null", "", "hub:8765"],
)
def test_a_page_from_elsewhere_may_not(origin: str) -> None:
    assert not origin_allowed(origin, "hub:8765", set())


def test_a_page_from_elsewhere_may_where_its_origin_is_listed() -> None:
    allowed = {"https://desk.example.com"}
    assert origin_allowed("https://desk.example.com", "hub:8765", allowed)
    assert not origin_allowed("http://desk.example.com", "hub:8765", allowed)


@pytest.mark.parametrize("origin", ["null", "", "file://"])
def test_an_origin_without_a_host_is_not_the_same_as_a_missing_host(origin: str) -> None:
    assert not origin_allowed(origin, "", set())


def test_an_origin_that_is_no_address_is_refused() -> None:
    assert not origin_allowed("http://[::1", "hub:8765", set())


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost:8765", True),
        ("127.0.0.1:8765", True),
        ("127.1.2.3", True),
        ("[::1]:8765", True),
        ("rebound.example:8765", False),
        ("localhost.example", False),
        ("10.0.0.1:8765", False),
        ("", False),
    ],
)
def test_a_hub_of_this_machine_only_has_no_other_name(host: str, allowed: bool) -> None:
    """DNS rebinding: the name of a foreign page points here, so that its origin and the host are alike."""
    assert origin_allowed(f"http://{host}", host, set(), loopback_only=True) is allowed


def test_a_listed_origin_is_allowed_on_this_machine_too() -> None:
    assert origin_allowed("https://desk.example", "127.0.0.1", {"https://desk.example"}, loopback_only=True)
