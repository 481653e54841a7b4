"""Topic strings: what is accepted, what each selects, and what is refused with which code."""

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub.topics import MAX_TOPIC_CHARS, TopicError, any_of, concerns, glob, meet, parse

UNIVERSES = {"沪深A股": ["600000.SH", "*.SZ"], "none": []}


def matches_simply(pattern: str, code: str) -> bool:
    """The meaning of a pattern, by definition: a star takes any number of characters."""
    if not pattern:
        return not code
    if pattern[0] == "*":
        return any(matches_simply(pattern[1:], code[taken:]) for taken in range(len(code) + 1))
    return code[:1] == pattern[0] and matches_simply(pattern[1:], code[1:])


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
@example("a*a", "a")
@example("ab*ba", "aba")
@example("*a*a*", "a")
@example("*ab*b", "ab")
@example("a*b*b", "ab")
@example("*aab*", "aaab")
@example("**", "")
def test_a_star_stands_for_any_run_of_characters(pattern: str, code: str) -> None:
    assert glob(pattern)(code) is matches_simply(pattern, code)


@given(st.lists(st.text("ab*", max_size=4), max_size=4), st.text("ab", max_size=5))
def test_a_universe_matches_what_any_of_its_entries_matches(patterns: list[str], code: str) -> None:
    assert any_of(patterns)(code) is any(matches_simply(pattern, code) for pattern in patterns)


def test_a_pattern_made_to_be_slow_is_not_slow() -> None:
    # A matcher that tries all ways to place the parts would not end within a lifetime.
    assert not glob("*a" * 40 + "*b")("a" * 2000)


def test_an_exact_topic_selects_one_code() -> None:
    selector = parse("tick:600000.SH", UNIVERSES)
    assert (selector.text, selector.channel, selector.exact) == ("tick:600000.SH", "tick", "600000.SH")
    assert selector.matches("600000.SH")
    assert not selector.matches("600000.SZ")


def test_a_pattern_selects_the_codes_that_match() -> None:
    selector = parse("1m:688*.SH", UNIVERSES)
    assert (selector.text, selector.channel, selector.exact) == ("1m:688*.SH", "1m", None)
    assert selector.matches("688981.SH")
    assert not selector.matches("600000.SH")
    assert not selector.matches("688981.SZ")


def test_a_universe_selects_its_codes_and_patterns() -> None:
    selector = parse("tick:@沪深A股", UNIVERSES)
    assert selector.exact is None
    assert [selector.matches(code) for code in ("600000.SH", "000001.SZ", "600001.SH")] == [True, True, False]


def test_an_empty_universe_selects_nothing() -> None:
    assert not parse("tick:@none", UNIVERSES).matches("600000.SH")


@pytest.mark.parametrize("topic", ["status:SH", "status:source.xtquant", "status:*", "tick:000001.SH", "l2quote:*"])
def test_well_formed_topics_are_accepted(topic: str) -> None:
    assert parse(topic, {}).text == topic


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        ("", "bad_topic"),
        (":", "bad_topic"),
        ("tick", "bad_topic"),
        ("tick:", "bad_topic"),
        ("ticks:600000.SH", "unknown_channel"),
        ("TICK:600000.SH", "unknown_channel"),
        (":600000.SH", "unknown_channel"),
        ("tick:600000", "bad_topic"),
        ("tick:600000.", "bad_topic"),
        ("tick:.SH", "bad_topic"),
        ("tick:600000.SH\n", "bad_topic"),
        (" tick:600000.SH", "unknown_channel"),
        ("tick: 600000.SH", "bad_topic"),
        ("tick:600000.SH,000001.SZ", "bad_topic"),
        ("tick:６０００００.SH", "bad_topic"),
        ("tick:6000?0.SH", "bad_topic"),
        ("tick:[0-9]*.SH", "bad_topic"),
        ("tick:* ", "bad_topic"),
        ("tick:*\n", "bad_topic"),
        ("tick:@", "bad_topic"),
        ("tick:@nobody", "bad_topic"),
        ("tick:@non*", "bad_topic"),
        ("status:a.b.c", "bad_topic"),
        ("status:", "bad_topic"),
    ],
)
def test_a_malformed_topic_is_refused_with_its_code_and_named(topic: str, code: str) -> None:
    with pytest.raises(TopicError) as caught:
        parse(topic, UNIVERSES)
    assert caught.value.code == code
    assert repr(topic) in str(caught.value)


def test_a_topic_may_be_as_long_as_the_limit_and_no_longer() -> None:
    longest = "tick:*" + "0" * (MAX_TOPIC_CHARS - 6)
    assert parse(longest, {}).text == longest
    with pytest.raises(TopicError) as caught:
        parse(longest + "0", {})
    assert caught.value.code == "bad_topic"


def test_a_giant_topic_gives_a_short_message() -> None:
    with pytest.raises(TopicError) as caught:
        parse("tick:" + "*" * 100_000, {})
    assert len(str(caught.value)) < 2 * MAX_TOPIC_CHARS


# Whether two can mean the same instrument

UNIVERSES_THAT_MEET = {
    "two": ["600001.SH", "688*.SH"],
    "shenzhen": ["*.SZ"],
    "mixed": ["000001.SZ", "6*"],
    "none": [],
}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tick:600000.SH", "tick:600000.SH"),
        ("tick:600000.SH", "tick:*"),
        ("tick:600000.SH", "tick:6*.SH"),
        ("tick:*", "tick:*"),
        ("tick:*.SH", "tick:6*"),
        ("tick:*.SH", "tick:000001*"),  # there may be such a code one day
        ("tick:6*", "tick:60*"),
        ("tick:6*.SH", "tick:*0.SH"),
        ("tick:*0*", "tick:6*.SZ"),
        ("tick:*00*", "tick:*11*"),
        ("tick:600*H", "tick:600000*SH"),
        ("tick:@two", "tick:600001.SH"),
        ("tick:@two", "tick:688001.SH"),
        ("tick:@two", "tick:*.SH"),
        ("tick:@two", "tick:6*"),
        ("tick:@two", "tick:@mixed"),
        ("tick:@shenzhen", "tick:@mixed"),
        ("tick:@shenzhen", "tick:*"),
        ("status:*", "status:SH"),
    ],
)
def test_two_that_can_mean_the_same_instrument_meet_whichever_is_first(one: str, other: str) -> None:
    first, second = (parse(text, UNIVERSES_THAT_MEET) for text in (one, other))
    assert meet(first, second)
    assert meet(second, first)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tick:600000.SH", "tick:600001.SH"),
        ("tick:600000.SH", "1m:600000.SH"),
        ("tick:*", "1m:*"),
        ("tick:*", "status:*"),
        ("tick:600000.SH", "tick:*.SZ"),
        ("tick:600000.SH", "tick:0*"),
        ("tick:*.SH", "tick:*.SZ"),
        ("tick:6*", "tick:0*"),
        ("tick:60*.SH", "tick:61*.SH"),
        ("tick:6*1.SH", "tick:*2.SH"),
        ("tick:@two", "tick:600000.SH"),
        ("tick:@two", "tick:*.SZ"),
        ("tick:@two", "tick:60*2.SH"),
        ("tick:@two", "tick:@shenzhen"),
        ("tick:@two", "1m:@two"),
        ("tick:@none", "tick:*"),
        ("tick:@none", "tick:@none"),
    ],
)
def test_two_that_can_mean_no_instrument_in_common_do_not_meet(one: str, other: str) -> None:
    first, second = (parse(text, UNIVERSES_THAT_MEET) for text in (one, other))
    assert not meet(first, second)
    assert not meet(second, first)


_SHORT = ["".join(letters) for length in range(7) for letters in product("0.", repeat=length)]
_PATTERNS = st.text("0.*", min_size=1, max_size=4)


@given(_PATTERNS, _PATTERNS)
def test_patterns_meet_exactly_where_some_text_fits_both(one: str, other: str) -> None:
    universes = {"one": [one], "other": [other]}
    fits = any(glob(one)(text) and glob(other)(text) for text in _SHORT)  # six letters are enough for four and four
    assert meet(parse("tick:@one", universes), parse("tick:@other", universes)) is fits


def test_what_is_said_concerns_whoever_selected_at_least_one_that_it_can_mean() -> None:
    selected = [parse(text, UNIVERSES_THAT_MEET) for text in ("tick:000001.SZ", "tick:@two")]
    said = ["tick:000001.SZ", "tick:*", "tick:688*.SH", "tick:600001.SH", "tick:000002.SZ", "1m:*", "tick:30*"]
    assert [concerns(topic, selected) for topic in said] == [True, True, True, True, False, False, False]
    assert not concerns("tick:*", [])
