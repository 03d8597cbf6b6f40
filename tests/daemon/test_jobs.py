"""The queue: fair, bounded, and forgetting in time."""

from __future__ import annotations

import pytest

from dreamd.jobs import Job, Jobs
from dreamd.limits import MIB, Limits
from dreamwire.errors import DreamError


def job(name: str, client: str = "a", nbytes: int = 1) -> Job:
    return Job(
        id=name,
        kind="dream",
        client=client.encode(),
        owner=client,
        keep=False,
        description=name,
        frames=(b"pixels",),
        nbytes=nbytes,
        submitted=0.0,
    )


def filled(*names: str, limits: Limits | None = None) -> Jobs:
    """A queue with jobs named by client and number, as in `a1`."""
    jobs = Jobs(limits or Limits())
    for name in names:
        jobs.add(job(name, name[0]))
    return jobs


@pytest.mark.parametrize(
    ("added", "served"),
    [
        pytest.param("a1 a2 a3", "a1 a2 a3", id="one client: in order"),
        pytest.param("a1 a2 a3 b1 c1", "a1 b1 c1 a2 a3", id="a busy client holds nobody up"),
        pytest.param("a1 b1 a2 b2", "a1 b1 a2 b2", id="two clients: in turn"),
        pytest.param("", "", id="nobody"),
    ],
)
def test_clients_are_served_in_turn_and_positions_say_so(added: str, served: str) -> None:
    jobs = filled(*added.split())
    expected = served.split()
    positions = {each.id: jobs.position(each) for each in jobs}
    assert [name for name, _ in sorted(positions.items(), key=lambda item: item[1])] == expected
    assert [each.id for each in iter(jobs.next, None)] == expected


@pytest.mark.parametrize(
    ("limits", "last", "message"),
    [
        pytest.param(Limits(queue=2), job("b1", "b"), "the limit is 2 jobs waiting.* --queue 3", id="queue"),
        pytest.param(
            Limits(per_client=2), job("a3"), "2 jobs waiting of one client.* --per-client 3", id="client"
        ),
        pytest.param(
            Limits(queue_memory=9), job("b1", "b", nbytes=9 * MIB), "9 MiB of.* --queue-memory 10", id="memory"
        ),
    ],
)
def test_a_full_queue_says_which_limit_and_takes_nothing(limits: Limits, last: Job, message: str) -> None:
    jobs = filled("a1", "a2", limits=limits)
    with pytest.raises(DreamError, match=message) as caught:
        jobs.add(last)
    assert caught.value.code == "queue_full"
    assert caught.value.retryable
    assert jobs.get(last.id) is None
    assert jobs.next() is jobs.get("a1")


def test_a_withdrawn_job_is_not_served() -> None:
    jobs = filled("a1", "a2", "b1")
    for name in ("a1", "b1"):
        found = jobs.get(name)
        assert found is not None
        jobs.forget(found)
    assert [each.id for each in iter(jobs.next, None)] == ["a2"]


def test_a_job_that_has_ended_lets_its_pixels_go_and_keeps_its_result() -> None:
    jobs = filled("a1")
    ended = jobs.next()
    assert ended is not None
    jobs.end(ended, "done", (b"result",), 6, now=5.0)
    assert (ended.frames, ended.end, ended.has_ended) == ((), (b"result",), True)


def test_results_expire_by_time_and_the_oldest_go_when_they_take_too_much_room() -> None:
    jobs = filled("a1", "a2", "a3", "a4", limits=Limits(results_seconds=100, results_memory=10))
    for now, each in enumerate(iter(jobs.next, None)):
        if each.id != "a4":
            jobs.end(each, "done", (b"",), 4 * MIB, now=float(now))
    assert [each.id for each in jobs.expire(now=50.0)] == ["a1"]
    assert [each.id for each in jobs.expire(now=101.5)] == ["a2"]
    assert [each.id for each in jobs] == ["a3", "a4"]  # one runs still


def test_ended_jobs_are_kept_up_to_a_number_and_whoever_leaves_most_behind_loses_them_first() -> None:
    jobs = filled("a1", "b1", "b2", "b3", limits=Limits(results=2))
    for now, each in enumerate(iter(jobs.next, None)):
        jobs.end(each, "cancelled", (b"",), 0, now=float(now))
    assert [each.id for each in jobs.expire(now=5.0)] == ["b1", "b2"]
    assert [each.id for each in jobs] == ["a1", "b3"]
