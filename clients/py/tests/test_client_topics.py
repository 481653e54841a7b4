import pytest

from argus_client.errors import TopicError
from argus_client.topics import TopicSet


@pytest.mark.parametrize(
    ("topic", "code", "covered"),
    [
        ("tick:600000.SH", "600000.SH", True),
        ("tick:600000.SH", "600000xSH", False),
        ("tick:688*.SH", "688001.SH", True),
        ("tick:688*.SH", "600688.SH", False),
        ("tick:688*.SH", "688001.SHX", False),
        ("tick:*", "000001.SZ", True),
        ("tick:*.SZ", "000001.SH", False),
        ("tick:6*0*.SH", "600000.SH", True),
        ("tick:[6]*", "600000.SH", False),
        ("tick:@沪深A股", "600000.SH", True),
    ],
)
def test_a_topic_covers_the_codes_that_the_grammar_says(topic: str, code: str, covered: bool) -> None:
    assert TopicSet.of([topic]).covers("tick", code) is covered


def test_a_topic_covers_no_other_channel() -> None:
    topics = TopicSet.of(["tick:600000.SH", "tick:*"])
    assert topics.covers("tick", "600000.SH")
    assert not topics.covers("l2quote", "600000.SH")


def test_a_topic_named_twice_counts_once_and_order_is_kept() -> None:
    assert TopicSet.of(["tick:B.SH", "tick:A.SH", "tick:B.SH"]).texts == ("tick:B.SH", "tick:A.SH")


@pytest.mark.parametrize("text", ["600000.SH", "tick:", ":600000.SH", ""])
def test_a_malformed_topic_is_named_in_the_error(text: str) -> None:
    with pytest.raises(TopicError, match=r"is not a topic: it must look like tick:600000\.SH"):
        TopicSet.of([text])


def test_no_topic_at_all_is_an_error() -> None:
    with pytest.raises(TopicError, match="at least one topic"):
        TopicSet.of([])


@pytest.mark.parametrize(
    ("mine", "theirs", "overlap"),
    [
        ("tick:600000.SH", "tick:600000.SH", True),
        ("tick:600000.SH", "tick:*.SH", True),
        ("tick:600000.SH", "tick:*.SZ", False),
        ("tick:6*", "tick:600000.SH", True),
        ("tick:6*", "tick:*.SZ", True),
        ("tick:6*", "1m:*", False),
    ],
)
def test_two_patterns_of_a_channel_may_overlap_but_exact_codes_are_matched(
    mine: str, theirs: str, overlap: bool
) -> None:
    assert TopicSet.of([mine]).may_overlap(TopicSet.of([theirs])) is overlap
