"""Holds what clients were handed against what the feeder wrote down, row by row and number by number.

The record says what each client must have: of every instrument that it covers, the i-th row given has number i.
Where a feeder was killed, the end of its run may be missing, the same end for everybody, and so is what came while none
was there; both must lie within the announced gaps, and nothing else may be announced.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.e2e.kill.diary import Diary, NotedGap
from tests.e2e.kill.record import Noted, NotedBatch
from tests.e2e.support.model import covers


@dataclass(frozen=True, slots=True)
class Due:
    """A row that the hub took: its number, digest, and when the feeder wrote it down (epoch seconds)."""

    code: str
    seq: int
    digest: int
    at_s: float
    run: int


@dataclass(frozen=True, slots=True)
class Outage:
    """Between two runs: exchange times (epoch ms) of the newest row taken before and of the newest in the batch after.

    ``lost``: rows that were never given to the hub, or not taken by it.
    """

    run: int
    before_ms: int
    after_ms: int
    lost: Sequence[Noted]


@dataclass(frozen=True, slots=True)
class Truth:
    """What the hub took, in order, and what it could not have."""

    rows: Sequence[Due]
    outages: Sequence[Outage]


def truth(record: Iterable[NotedBatch], whole: Diary) -> Truth:
    """Work out what the hub took, with the help of a diary that covers everything.

    The last run is taken as a whole; of each other one, the batches up to the last of which this diary has a row before
    its gap. After it, a row of a batch that was not taken may come with the next run's snapshot.
    """
    runs: dict[str, list[NotedBatch]] = {}
    missed: dict[str, list[Noted]] = {}
    for batch in record:
        if batch.given:
            runs.setdefault(batch.run, []).append(batch)
        else:
            missed.setdefault(batch.run, []).extend(batch.rows)
    gaps = [gap for gap in whole.gaps if gap.cause == "upstream"]
    assert len(gaps) == len(runs) - 1, f"{len(runs)} runs of the feeder were told as {whole.gaps}"
    places: dict[int, int] = {}
    for place, digest in enumerate(whole.digests):
        places.setdefault(digest, place)
    due: list[Due] = []
    outages: list[Outage] = []
    taken: dict[str, set[int]] = {}
    known: set[int] = set()  # taken, or lost in an earlier outage: a run may note what earlier ones did
    before_ms = 0
    lost: list[Noted] = []
    for number, (run, batches) in enumerate(runs.items()):
        last = number == len(runs) - 1
        count = len(batches) if last else _taken(batches, places, gaps[number].place)
        assert count, f"the hub took nothing of run {number}: the test says nothing about it"
        if number:
            lost += missed.get(run, [])
            after_ms = max(row.time_ms for row in batches[0].rows)
            known.update(row.digest for row in batches[0].rows)
            lost = list({row.digest: row for row in lost if row.digest not in known}.values())
            known.update(row.digest for row in lost)
            outages.append(Outage(number, before_ms, after_ms, lost))
        for batch in batches[:count]:
            for code, time_ms, digest in batch.rows:
                mine = taken.setdefault(code, set())
                if digest not in mine:  # a snapshot at the start of a run repeats what had not changed
                    mine.add(digest)
                    due.append(Due(code, len(mine), digest, batch.at_s, number))
                    before_ms = max(before_ms, time_ms)
            known.update(row.digest for row in batch.rows)
        lost = [row for batch in batches[count:] for row in batch.rows]
    return Truth(due, outages)


def _taken(batches: Sequence[NotedBatch], places: Mapping[int, int], end: int) -> int:
    """How many of a run's batches have a row in front of a place."""
    for count in range(len(batches), 0, -1):
        if any(places.get(row.digest, end) < end for row in batches[count - 1].rows):
            return count
    return 0


def covered(diary: Diary, truth: Truth) -> list[Due]:
    """The rows that a client must have."""
    chosen: dict[str, bool] = {}
    for row in truth.rows:
        if row.code not in chosen:
            chosen[row.code] = any(covers(pattern, f"tick:{row.code}") for pattern in diary.topics)
    return [row for row in truth.rows if chosen[row.code]]


def check(diary: Diary, truth: Truth) -> list[Due]:
    """Fail unless a client was handed exactly the rows that it must have, in order, and told of each outage, once.

    Returns:
        Those rows.
    """
    due = covered(diary, truth)
    for place, (row, handed) in enumerate(zip(due, _handed(diary), strict=False)):
        assert (row.code, row.seq, row.digest) == handed, f"row {place}: {handed} was handed over, due was {row}"
    more = len(diary.seqs) - len(due)
    assert not more, f"{abs(more)} rows {'too many' if more > 0 else 'are missing'} at the end: {due[more:][:1]}"
    assert [gap for gap in diary.gaps if gap.cause != "upstream"] == []
    assert len(diary.gaps) == len(truth.outages), f"{len(truth.outages)} outages were told as {diary.gaps}"
    for gap, outage in zip(diary.gaps, truth.outages, strict=True):
        _check_gap(gap, outage, due)
    return due


def _handed(diary: Diary) -> Iterator[tuple[str, int, int]]:
    codes = diary.codes
    for number, seq, digest in zip(diary.code_numbers, diary.seqs, diary.digests, strict=True):
        yield codes[number], seq, digest


def _check_gap(gap: NotedGap, outage: Outage, due: Sequence[Due]) -> None:
    assert (gap.from_seq, gap.to_seq) == (None, None), gap
    assert gap.from_ms is not None, gap
    assert gap.to_ms is not None, gap
    assert outage.before_ms <= gap.from_ms <= gap.to_ms <= outage.after_ms, f"{gap} is wider than {outage}"
    first_after = next((place for place, row in enumerate(due) if row.run >= outage.run), len(due))
    assert gap.place == first_after, f"{gap} came at {gap.place} instead of before row {first_after}"
    outside = [row for row in outage.lost if not gap.from_ms <= row.time_ms <= gap.to_ms]
    assert not outside, f"{len(outside)} rows such as {outside[0]} are missing and outside of {gap}"


def whole_again_s(diary: Diary, due: Sequence[Due], killed_s: float, listening_s: float) -> float | None:
    """Seconds from a kill until this client had all that was written down until the hub listened again.

    None where nothing of the kind was on its way, or where the client came only later.
    """
    if not diary.at_s or diary.at_s[0] > killed_s:
        return None
    first = bisect_right(due, killed_s, key=lambda row: row.at_s)
    last = bisect_right(due, listening_s, key=lambda row: row.at_s)
    return max(diary.at_s[first:last]) - killed_s if first < last else None


def summary(seconds: Sequence[float]) -> str:
    """Median and worst, as figures for a person."""
    if not seconds:
        return "not to be told: no row came meanwhile"
    return f"median {median(seconds):.2f} s, worst {max(seconds):.2f} s"
