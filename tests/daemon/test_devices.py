"""What a worker does when memory is short."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import zmq

from dreamd import devices, ram, run, worker
from dreamd.core.progress import Progress
from dreamd.kinds import KINDS, Task
from dreamwire.errors import DreamError
from dreamwire.messages import Array, Submit

CPU = torch.device("cpu")


def loaded(cache: devices.NetworkCache) -> list[str]:
    return [each["name"] for each in cache.listed()]


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """What is quicker is found out once in a process; not what it was before."""
    devices.bfloat16_pays.cache_clear()
    yield
    devices.bfloat16_pays.cache_clear()


@pytest.mark.parametrize("slowed", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.usefixtures("asked_anew")
def test_the_quicker_arithmetic_is_found_by_trying(slowed: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    convolve = devices._convolve

    def slow(dtype: torch.dtype) -> None:
        for _ in range(20 if dtype == slowed else 1):
            convolve(torch.float32)

    monkeypatch.setattr(devices, "_convolve", slow)
    quicker = torch.bfloat16 if slowed == torch.float32 else torch.float32
    assert devices.choose_dtype("auto", CPU) == quicker
    assert devices.choose_dtype("float32", CPU) == torch.float32
    assert devices.choose_dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.usefixtures("asked_anew")
def test_what_else_the_machine_does_has_no_say_in_which_is_quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the same dream would be another picture after the next start."""
    convolve, threads = devices._convolve, torch.get_num_threads()

    def interrupted(dtype: torch.dtype) -> None:
        assert torch.get_num_threads() == 1
        convolve(torch.bfloat16 if dtype == torch.float32 else torch.float32)
        if dtype == torch.float32:
            time.sleep(0.02)

    monkeypatch.setattr(devices, "_convolve", interrupted)
    calm = devices.choose_dtype("auto", CPU)
    devices.bfloat16_pays.cache_clear()
    monkeypatch.setattr(devices, "_convolve", convolve)
    assert {calm, devices.choose_dtype("auto", CPU)} == {torch.float32, torch.bfloat16}
    assert torch.get_num_threads() == threads


def test_a_network_stays_loaded() -> None:
    cache = devices.NetworkCache(1 << 30)
    assert cache.get("efficientnet_lite0", CPU, torch.float32) is cache.get(
        "efficientnet_lite0", CPU, torch.float32
    )


def test_the_network_used_least_recently_goes_when_memory_asks() -> None:
    one = devices.NetworkCache(1 << 30).get("efficientnet_lite0", CPU, torch.float32).bytes
    cache = devices.NetworkCache(int(2.9 * one))
    for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite0", "efficientnet_lite2"):
        cache.get(name, CPU, torch.float32)
    assert loaded(cache) == ["efficientnet_lite0", "efficientnet_lite2"]


def test_the_network_in_use_is_kept_however_large() -> None:
    cache = devices.NetworkCache(1)
    cache.get("efficientnet_lite0", CPU, torch.float32)
    assert loaded(cache) == ["efficientnet_lite0"]
    cache.unload("efficientnet_lite1")
    assert loaded(cache) == ["efficientnet_lite0"]
    cache.unload()
    assert loaded(cache) == []


def test_a_network_without_weights_says_how_to_get_them() -> None:
    with pytest.raises(DreamError, match="deepdream pull vgg16"):
        devices.NetworkCache(1).get("vgg16", CPU, torch.float32)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("not enough memory"), False),
    ],
    ids=repr,
)
def test_running_out_of_memory_is_recognised(error: Exception, expected: bool) -> None:
    assert devices.is_out_of_memory(error) is expected


@pytest.mark.parametrize(("gigabytes", "side"), [(1, 512), (4, 1024), (8, 1536), (64, 1536)])
def test_a_window_on_a_processor_is_as_large_as_memory_allows(
    gigabytes: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ram, "allowed", lambda: gigabytes << 30)
    assert devices.largest_window(CPU) == side
    assert devices.largest_window(torch.device("cuda")) == 2048


def test_the_ladder_halves_the_window_then_takes_the_processor_then_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ram, "allowed", lambda: 8 << 30)
    attempt: devices.Attempt | None = devices.Attempt(torch.device("cuda"), 1024)
    steps = []
    while attempt := attempt.lighter(devices.NetworkCache(1)):
        steps.append((attempt.device.type, attempt.window))
        degraded = attempt.degraded
    assert steps == [
        ("cuda", 512), ("cuda", 256), ("cpu", 1536), ("cpu", 768), ("cpu", 384), ("cpu", 256)
    ]  # fmt: skip
    assert degraded[2] == "the processor was used"


@pytest.fixture
def a_worker() -> Iterator[worker.Worker]:
    """A worker in this process, whose messages nobody reads."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as front, context.socket(zmq.PAIR) as socket:
        front.bind("inproc://worker")
        socket.connect("inproc://worker")
        yield worker.Worker(socket, CPU, 1 << 30)


def a_job(**params: object) -> Submit:
    described = Array("image", 0, "uint8", (40, 40, 3))
    brief = {"octaves": 1, "steps": 1, "layers": "blocks.2"} | params
    return Submit(job=str(uuid.uuid4()), kind="dream", params=brief, inputs=(described,), frames=(bytes(4800),))


def short_of_memory(monkeypatch: pytest.MonkeyPatch, largest: int) -> None:
    """Makes every dream with windows above `largest` run out of memory, as torch does on a processor."""
    real = KINDS["dream"]

    def dream(task: Task) -> Iterator[Progress]:
        if task.window > largest:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate too much")
        return real.run(task)

    monkeypatch.setitem(run.KINDS, "dream", replace(real, run=dream))  # type: ignore[arg-type]


def test_a_job_short_of_memory_is_done_in_smaller_windows_and_says_so(
    a_worker: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(monkeypatch, 300)
    monkeypatch.setattr(ram, "allowed", lambda: 4 << 30)
    done = a_worker.result(a_job())
    assert done.info["window"] == 256
    assert done.info["degraded"] == ["the window was reduced to 512 px", "the window was reduced to 256 px"]


def test_a_job_that_no_window_is_small_enough_for_fails_with_advice(
    a_worker: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(monkeypatch, 0)
    with pytest.raises(DreamError, match="smaller region") as caught:
        a_worker.result(a_job())
    assert caught.value.code == "out_of_memory"


def test_a_fault_that_is_not_memory_is_not_tried_again(
    a_worker: worker.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dream(task: Task) -> Iterator[Progress]:
        raise RuntimeError("shapes do not match")

    monkeypatch.setitem(run.KINDS, "dream", replace(KINDS["dream"], run=dream))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="shapes"):
        a_worker.result(a_job())
