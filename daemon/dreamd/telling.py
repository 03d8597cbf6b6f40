"""What `status` says of a daemon, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dreamwire.words import duration

Row = tuple[str, str]


def told(status: Mapping[str, Any]) -> list[Row]:
    """The status of a daemon as rows of a table: what it is at, what it takes, what has been, where things are."""
    up = duration(status["uptime_seconds"])
    return [
        ("daemon", f"up for {up}, version {status['version']}, process {status['pid']}"),
        ("queue", _queue(status["queue"])),
        *(("job", _job(job)) for job in status["jobs"] if job["state"] in ("running", "queued")),
        *(("worker", _worker(worker)) for worker in status["workers"]),
        ("memory", ", ".join(_memory(status))),
        ("so far", _counted(status["counts"]) or "no jobs"),
        *_elsewhere(status.get("remote")),
        *_codes("refused", status["refusals"]),
        *_codes("failed", status["failures"]),
        *(("error", _error(error)) for error in status["last_errors"]),
        ("endpoint", status["endpoint"]),
        ("weights", status["weights"]),
        ("log", status["log"]),
    ]


def size(count: int | None) -> str:
    """Bytes as a person says them; MB and GB, as disks and cards are sold."""
    if count is None:
        return "not told by this system"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _queue(queue: Mapping[str, int]) -> str:
    if not queue["running"] and not queue["waiting"]:
        said = "empty"
    else:
        pictures = f", {size(queue['bytes'])} of pictures" if queue["waiting"] else ""
        said = f"{queue['running']} running, {queue['waiting']} of at most {queue['limit']} waiting{pictures}"
    if queue["unfetched"]:
        said += f"; {queue['unfetched']} results to be fetched, {size(queue['unfetched_bytes'])}"
    return said


def _job(job: Mapping[str, Any]) -> str:
    how = f"{job['position']} before it" if job["state"] == "queued" else f"{job['fraction']:.0%}"
    since = duration(job["seconds"])
    return f"{job['job'][:8]} {job['kind']}, {job['state']}, {how}, for {job['client'] or 'nobody'}, {since}"


def _worker(worker: Mapping[str, Any]) -> str:
    if not worker["running"]:
        return f"{worker['device']}, asleep; the next job wakes it"
    if "torch" not in worker:
        return f"{worker['device']}, starting, process {worker['pid']}"
    names = [f"{each['name']} ({each['precision']})" for each in worker["networks"]]
    busy = "busy" if worker["job"] else "idle"
    return (
        f"{worker['device']} ({worker['device_name']}), {busy}, {' and '.join(names) or 'no network'} loaded,"
        f" torch {worker['torch']}, process {worker['pid']}"
    )


def _memory(status: Mapping[str, Any]) -> Iterator[str]:
    yield f"front {size(status['memory'])}"
    for worker in status["workers"]:
        if worker["running"]:
            yield f"worker {size(worker['memory'])}"
        if card := worker.get("card"):
            yield f"card {size(card['ours'])} of {size(card['total'])}, {size(card['free'])} free"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _codes(what: str, counts: Mapping[str, int]) -> Iterator[Row]:
    if counts:
        often = sorted(counts.items(), key=lambda each: -each[1])
        yield what, ", ".join(f"{count} {code}" for code, count in often)


def _elsewhere(remote: Mapping[str, Any] | None) -> Iterator[Row]:
    """Who is in from other computers, and how often somebody was not let in."""
    if remote is not None:
        refused = f"; refused: {_counted(remote['refusals'])}" if remote["refusals"] else ""
        yield "elsewhere", f"{remote['endpoint']}, {', '.join(remote['clients']) or 'nobody'} connected{refused}"


def _error(error: Mapping[str, Any]) -> str:
    often = f", {error['times']} times" if error["times"] > 1 else ""
    return f"{error['code']}, {duration(error['seconds_ago'])} ago{often}: {error['message']}"
