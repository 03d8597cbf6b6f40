"""What is done only on a card, tried on the processor: replays, windows shown together, what goes to and fro.

`fake_card` overwrites memory as a CUDA graph does. `test_on_a_card.py` tries the real one where there is one.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch
import zmq
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dreamd import convolutions, devices, models, ram, replay, run, weights, worker
from dreamd.convolutions import Convolution, Phases, SameConv2d, padding
from dreamd.core.dream import Settings, dream
from dreamd.core.gradient import Grid
from dreamd.core.objectives import Distance, Emphasis, Energy, Likeness, Objective, Score, Weighted, energy
from dreamd.core.plan import Extent, Plan, sums
from dreamd.pixels import Arriving, Picture
from dreamwire.errors import DreamError
from dreamwire.messages import Array, Message, Preview, PreviewIs, Submit
from dreamwire.messages import Progress as ProgressIs
from dreamwire.networks import CLASSES
from dreamwire.params import validate
from every_operation import LAYERS, LITE0, both_ways, everything, pixels, recorded
from fake_card import FakeCard
from fake_network import FakeNetwork

CPU, CUDA, META = torch.device("cpu"), torch.device("cuda"), torch.device("meta")
T = TypeVar("T")


def lite0(dtype: torch.dtype = torch.float32) -> models.LoadedNetwork:
    return models.load(LITE0, weights.require(LITE0), CPU, dtype)


@pytest.fixture(autouse=True)
def without_onednn() -> Iterator[None]:
    """As it is on a card, and by a patch of its own: tests undo that of others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolutions, "_onednn", lambda _device, _dtype: False)
        yield


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> FakeCard:
    """What networks that are loaded from now on are recorded on."""
    found = FakeCard()
    monkeypatch.setattr(models, "recorder", lambda _device: found)
    return found


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


# Replays


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_replayed_window_is_what_it_is_step_by_step(
    dtype: torch.dtype, card: FakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = [(everything(CPU), LAYERS), (lite0(dtype), ("blocks.4", "blocks.7"))]
    monkeypatch.undo()
    for (network, layers), plain in zip(replayed, (everything(CPU), lite0(dtype)), strict=True):
        assert plain.recordings is None
        for seed in range(6):
            shown = pixels(64, 96, seed=seed)
            assert same(both_ways(network, shown, *layers), both_ways(plain, shown, *layers))
        assert network.recordings is not None
        assert len(network.recordings) == 1
    assert card.replays == 2 * 2 * (1 + 6 - replay.SEEN)


def test_what_a_replay_gave_stays_when_others_follow(card: FakeCard) -> None:
    network = everything(CPU)
    recorded(network, (64, 96), (48, 48))
    before = both_ways(network, pixels(64, 96), *LAYERS)
    copies = [each.clone() for each in before]
    for size in ((64, 96), (48, 48), (64, 96)):
        both_ways(network, pixels(*size, seed=7), *LAYERS)
    assert same(before, copies)
    assert not any(each.isnan().any() for each in before)


def test_ways_back_in_any_order_are_right(card: FakeCard) -> None:
    network = everything(CPU)
    recorded(network, (64, 96), (48, 48))
    shown = [pixels(64, 96, seed=1), pixels(48, 48, seed=2), pixels(64, 96, seed=3)]
    expected = [both_ways(network, each, *LAYERS)[-1] for each in shown]
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        leaves = [each.clone().requires_grad_() for each in shown]
        values = [sum(found.square().sum() for found in network.features(each, LAYERS)) for each in leaves]
        for index in order:
            (gradient,) = torch.autograd.grad(values[index], leaves[index])  # type: ignore[arg-type]
            assert torch.equal(gradient, expected[index])


def test_networks_that_share_a_card_do_not_disturb_each_other(card: FakeCard) -> None:
    one, other = everything(CPU), lite0()
    alone = both_ways(one, pixels(64, 96), *LAYERS)
    recorded(one, (64, 96))
    recorded(other, (64, 64), layers=("blocks.4",))
    leaf = pixels(64, 96).requires_grad_()
    total = sum(found.square().sum() for found in one.features(leaf, LAYERS))
    both_ways(other, pixels(64, 64), "blocks.4")
    (gradient,) = torch.autograd.grad(total, leaf)  # type: ignore[arg-type]
    assert torch.equal(gradient, alone[-1])
    assert same(both_ways(one, pixels(64, 96), *LAYERS), alone)


def test_a_layer_whose_gradient_nobody_has_counts_for_nothing(card: FakeCard) -> None:
    network = everything(CPU)
    (alone,) = both_ways(network, pixels(64, 96), "second")[1:]
    recorded(network, (64, 96))
    for _ in range(2):  # before and after one in which the other layer counted
        leaf = pixels(64, 96).requires_grad_()
        low, _high = network.features(leaf, LAYERS)
        torch.testing.assert_close(torch.autograd.grad(low.square().sum(), leaf)[0], alone)
        both_ways(network, pixels(64, 96), *LAYERS)


def test_a_way_back_can_be_asked_for_once(card: FakeCard) -> None:
    network = everything(CPU)
    recorded(network, (64, 96))
    leaf = pixels(64, 96).requires_grad_()
    (found, _) = network.features(leaf, LAYERS)
    torch.autograd.grad(found.sum(), leaf, retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        torch.autograd.grad(found.sum(), leaf)


def test_shapes_that_come_once_or_are_only_looked_at_are_not_recorded(card: FakeCard) -> None:
    network = everything(CPU)
    for side in range(32, 64, 4):
        both_ways(network, pixels(side, 64), *LAYERS)
    for _ in range(5):
        with torch.no_grad():
            network.features(pixels(64, 64), LAYERS)
    assert card.recordings == []


def test_the_shapes_used_least_recently_go_when_there_are_too_many(
    card: FakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MOST", 2)
    network = everything(CPU)
    assert network.recordings is not None
    recorded(network, (32, 32), (32, 48))
    both_ways(network, pixels(32, 32), *LAYERS)
    recorded(network, (48, 48))
    assert (len(network.recordings), card.rehearsed) == (2, 3)
    recorded(network, (32, 32), (48, 48))
    assert card.rehearsed == 3
    recorded(network, (32, 48))  # this one had gone, and has to come as often again
    assert (len(network.recordings), card.rehearsed) == (2, 4)


def out_of_room(*_: Any) -> Any:
    raise torch.OutOfMemoryError("it would take 900 MiB of 1000 that are free")


def forbidden(*_: Any) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing")


def something_else(_card: FakeCard, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
    return work(), lambda: None


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"rehearse": out_of_room}, "it would take 900 MiB of 1000 that are free"),
        ({"record": forbidden}, "operation not permitted"),
        ({"record": out_of_room}, "it would take"),
        ({"record": something_else}, "a replay gives something else"),
    ],
    ids=["no room", "not to be recorded", "out of memory", "something else"],
)
def test_what_cannot_be_recorded_goes_step_by_step_and_is_not_tried_again(
    fault: dict[str, Any],
    told: str,
    card: FakeCard,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = everything(CPU)
    expected = both_ways(network, pixels(64, 96), *LAYERS)
    recorded(network, (32, 32))  # goes well, and goes with the others
    for name, function in fault.items():
        monkeypatch.setattr(FakeCard, name, function)
    with caplog.at_level(logging.WARNING):
        for size in ((64, 96), (48, 48)):
            for _ in range(6):
                # A second try would be told too.
                found = both_ways(network, pixels(*size), *LAYERS)
                assert size != (64, 96) or same(found, expected)
    (line,) = caplog.messages
    assert line.startswith(f"{LITE0.label} goes step by step: ")
    assert told in line
    assert network.recordings is not None
    assert (network.recordings.off, len(network.recordings)) == (True, 0)


def test_a_dream_on_a_card_is_the_dream_that_it_is_without_replays(
    card: FakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = lite0()
    monkeypatch.undo()
    source, mask = pixels(150, 170)[0], torch.ones(150, 170)
    mask[:60, :90] = 0.3
    settings = Settings(octaves=2, steps=4, jitter=16, window=128, context=64, levels=2)
    objective = Objective((Energy("blocks.4", 1.0, (3, 5)), Energy("blocks.2", 0.5)))
    (*_, expected), (*_, found) = (dream(each, objective, source, mask, settings) for each in (lite0(), replayed))
    assert torch.equal(found.picture(), expected.picture())
    assert found.value == expected.value
    assert replayed.recordings is not None
    assert 1 <= len(replayed.recordings) < card.replays / 8


class Cuda:
    """As much of `torch.cuda` as recordings ask for; remembers in what order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, free: int = 1000, needed: int = 0) -> None:
        self.events: list[str] = []
        self.stream, self._free = "usual", [free, free - needed]
        fakes = {
            "Stream": lambda _device: self.side("its own"),
            "current_stream": lambda _device: self.side("usual"),
            "graph_pool_handle": lambda: "pool",
            "CUDAGraph": lambda: SimpleNamespace(replay="replay"),
            "empty_cache": lambda: None,
            "mem_get_info": lambda _device: (self._free.pop(0) << 20, 1 << 40),
            "device": lambda _device: contextlib.nullcontext(),
            "stream": self.on,
            "graph": self.graph,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    def side(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(
            name=name,
            wait_stream=lambda other: self.events.append(f"{name} waits for {other.name}"),
            synchronize=lambda: None,
        )

    @contextlib.contextmanager
    def on(self, stream: SimpleNamespace) -> Iterator[None]:
        before, self.stream = self.stream, stream.name
        try:
            yield
        finally:
            self.stream = before

    @contextlib.contextmanager
    def graph(self, _graph: object, pool: str, stream: SimpleNamespace) -> Iterator[None]:
        self.stream = stream.name  # and forgets to go back when it fails, as torch does
        self.events.append(f"recording into the {pool}")
        yield


def test_work_is_rehearsed_and_recorded_on_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(monkeypatch, free=1000, needed=400)
    graphs = replay.CudaGraphs(CUDA)
    around = ["its own waits for usual", "work", "usual waits for its own"]

    def work() -> str:
        assert cuda.stream == "its own"
        cuda.events.append("work")
        return "made"

    assert graphs.rehearse(work) == "made"
    assert cuda.events == around
    cuda.events.clear()
    assert graphs.record(work) == ("made", "replay")
    assert cuda.events == [around[0], "recording into the pool", *around[1:]]
    assert cuda.stream == "usual"


def test_a_recording_that_fails_leaves_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(monkeypatch)
    with pytest.raises(RuntimeError, match="capturing"):
        replay.CudaGraphs(CUDA).record(forbidden)
    assert cuda.stream == "usual"


def test_nothing_is_recorded_that_would_take_more_than_half_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    Cuda(monkeypatch, free=1000, needed=600)
    with pytest.raises(torch.OutOfMemoryError, match="600 MiB of 1000"):
        replay.CudaGraphs(CUDA).rehearse(list)


# The fake card itself


def test_the_fake_card_computes_nothing_while_it_records_and_overwrites_what_was_not_copied() -> None:
    card, given = FakeCard(), torch.ones(3)
    found, replayed = card.record(lambda: given.mul(2).relu_())
    assert found.isnan().all()
    replayed()
    assert found.tolist() == [2, 2, 2]
    given.fill_(5)
    assert found.tolist() == [2, 2, 2]
    replayed()
    assert found.tolist() == [10, 10, 10]
    card.record(lambda: given + 1)[1]()  # made later, it knew that somebody held what is there
    assert found.tolist() == [10, 10, 10]
    later, replay_later = card.record(lambda: given + 2)
    replay_later()
    assert later.tolist() == [7, 7, 7]
    replayed()
    assert later.isnan().all()


def test_the_fake_card_refuses_to_look_at_values_while_it_records() -> None:
    with pytest.raises(RuntimeError, match="capturing"):
        FakeCard().record(lambda: float(torch.ones(3).sum()))


# Windows shown together


def spots(height: int, width: int, *tops: tuple[int, int]) -> Tensor:
    """A mask of spots of one size."""
    mask = torch.zeros(height, width)
    for top, left in tops:
        mask[top : top + 12, left : left + 12] = 1
    return mask


@pytest.mark.parametrize("at_once", [2 * 32 * 32, 5 * 32 * 32, 1 << 20])
@pytest.mark.parametrize(
    "mask",
    [torch.ones(150, 210), spots(150, 210, (8, 8), (8, 100), (100, 60), (120, 190))],
    ids=["a whole picture", "a region in pieces"],
)
def test_windows_shown_together_make_the_dream_that_they_make_one_by_one(mask: Tensor, at_once: int) -> None:
    source = pixels(150, 210)[0]
    objective = energy({"low": 0.4, "high": 1.0})
    settings = Settings(octaves=2, steps=3, jitter=8, window=32, context=16, levels=2)
    one_by_one, together = FakeNetwork(), FakeNetwork(at_once)
    expected = list(dream(one_by_one, objective, source, mask, settings))
    found = list(dream(together, objective, source, mask, settings))
    torch.testing.assert_close(found[-1].picture(), expected[-1].picture(), rtol=0, atol=1e-4)
    assert found[-1].value == pytest.approx(expected[-1].value, rel=1e-4)
    # Every window is told of all the same, and everything has been shown, in fewer goes.
    assert [(each.step, each.window, each.windows) for each in found] == [
        (each.step, each.window, each.windows) for each in expected
    ]
    assert set(one_by_one.batches) == {1}
    assert sum(together.batches) == sum(one_by_one.batches)
    assert max(together.batches) > 1
    shown = zip(together.batches, together.shown, strict=True)
    assert all(count == 1 or count * height * width <= at_once for count, (height, width) in shown)


def test_a_dream_yields_after_every_batch() -> None:
    """So it can be cancelled between them."""
    network = FakeNetwork(4 * 32 * 32)
    settings = Settings(octaves=1, steps=1, jitter=0, window=32, context=16, levels=0)
    shown = []
    for progress in dream(network, energy({"low": 1.0}), pixels(128, 128)[0], torch.ones(128, 128), settings):
        shown.append(sum(network.batches) - progress.window)
    assert max(shown) < 4 == max(network.batches)


def exact() -> models.LoadedNetwork:
    """The embedded network in float64: in float32 its rounding may open another rectifier."""
    net = models.build(LITE0)
    state = torch.load(weights.require(LITE0), weights_only=True)
    net.load_state_dict({models._lite_key(key): tensor for key, tensor in state.items()}, assign=True)
    traced = models.trace(net.double().requires_grad_(False), LITE0.offers)
    models.fold_norms(traced)
    return models.LoadedNetwork(LITE0, traced, CPU, torch.float64)


def test_windows_of_the_real_network_shown_together_have_the_gradients_that_they_have_alone() -> None:
    network = exact()
    shown = pixels(64, 96, 3).double()
    for layers in (("blocks.4", "blocks.10"), (CLASSES,)):
        together = both_ways(network, shown, *layers)
        for index in range(3):
            alone = both_ways(network, shown[index : index + 1], *layers)
            for found, expected in zip(together, alone, strict=True):
                limit = 1e-4 * float(expected.abs().max())
                torch.testing.assert_close(found[index : index + 1], expected, rtol=0, atol=limit)


@pytest.mark.parametrize("way", ["_back", "back"])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2), (7, 3)])
def test_convolutions_go_back_with_several_pictures_at_once(
    kernel: int, stride: int, groups: int, way: str
) -> None:
    """`_back` is a card's way."""
    torch.manual_seed(0)
    for kind in (SameConv2d, nn.Conv2d):
        conv = kind(4, 4, kernel, stride, groups=groups).double().requires_grad_(False)
        shown = torch.randn(3, 4, 19, 26, dtype=torch.float64, requires_grad=True)
        made = conv(shown)
        given = torch.randn_like(made)
        (expected,) = torch.autograd.grad(made, shown, given)
        own = Convolution(conv, torch.float64)
        size = shown.shape[-2:]
        found = own.back(given, size) if way == "back" else own._back(given, size, padding(conv, size))
        torch.testing.assert_close(found.joined() if isinstance(found, Phases) else found, expected)


def on_meta(plan: Plan) -> Plan:
    grid = Grid(plan.grid.stride, {name: weight.to(META) for name, weight in plan.grid.weights.items()})
    return replace(plan, grid=grid)


def test_no_window_waits_for_the_card() -> None:
    """Tensors without values stand for those of a card: whatever asks for a value fails."""
    network = FakeNetwork()
    network._low, network._high = network._low.to(META), network._high.to(META)
    extent = Extent.around(torch.ones(61, 83))
    plan = on_meta(Plan.of(extent, network, ("low", "high"), side=40, offset=(3, 6)))
    assert len(plan.windows) > 3
    rows, columns = plan.grid.weights["high"].shape
    objective = Objective(
        (
            Energy("low", 1.0, (1, 4)),
            Score("high", 2),
            Weighted("high", torch.rand(8, device=META)),
            Likeness("high", torch.rand(5, 8, device=META)),
            Emphasis("low", torch.rand(6, device=META)),
            Distance("high", torch.rand(8, rows, columns, device=META), 1.0, (0, 3)),
        )
    )
    image = torch.rand(3, 61, 83, device=META)
    values = list(plan.gradients(network, objective, [2.0] * 6, image, torch.zeros_like(image)))
    assert len(values) == len(plan.windows)
    with pytest.raises((RuntimeError, NotImplementedError)):
        sums(values)


# The device


def with_memory(monkeypatch: pytest.MonkeyPatch, gigabytes: int) -> None:
    properties = SimpleNamespace(total_memory=gigabytes << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)


def test_as_much_is_shown_together_as_a_card_has_room_for_and_on_a_processor_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert devices.pixels_at_once(CPU) == 0
    with_memory(monkeypatch, 8)
    assert 512**2 < devices.pixels_at_once(CUDA) < 1024**2
    with_memory(monkeypatch, 141)
    assert devices.pixels_at_once(CUDA) == 2048**2


def test_where_memory_has_run_out_windows_together_take_no_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory(monkeypatch, 80)
    monkeypatch.setattr(ram, "allowed", lambda: 8 << 30)
    attempt: devices.Attempt | None = devices.Attempt(CUDA, 1024)
    found = []
    while attempt:
        found.append((attempt.window, attempt.at_once))
        attempt = attempt.lighter(devices.NetworkCache(1))
    assert found[0] == (1024, 2048**2)
    assert found[1:3] == [(512, 512**2), (256, 256**2)]
    assert {at_once for _, at_once in found[3:]} == {0}


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float32), ((6, 1), torch.float32)],
    ids=str,
)
def test_cards_without_bfloat16_have_float32(
    capability: tuple[int, int], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "GeForce GTX 1080")
    # torch says so of all of them
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    devices.bfloat16_pays.cache_clear()
    try:
        assert devices.choose_dtype("auto", CUDA) == expected
        if expected == torch.float32:
            with pytest.raises(DreamError, match=r"GeForce GTX 1080 .*Set the precision to auto or float32"):
                devices.choose_dtype("bfloat16", CUDA)
    finally:
        devices.bfloat16_pays.cache_clear()


# A whole job


@pytest.fixture
def a_worker() -> Iterator[worker.Worker]:
    """A worker in this process, whose messages nobody reads."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as front, context.socket(zmq.PAIR) as socket:
        front.bind("inproc://worker")
        socket.connect("inproc://worker")
        yield worker.Worker(socket, CPU, 1 << 30)


def a_job(**more: Any) -> Submit:
    shown = (pixels(96, 120)[0].permute(1, 2, 0) * 255).byte().contiguous()
    brief = {"octaves": 2, "steps": 5, "layers": "blocks.4", "precision": "float32", "window": 128}
    described = Array("image", 0, "uint8", (96, 120, 3))
    frame = shown.numpy().tobytes()
    return Submit(job=str(uuid.uuid4()), kind="dream", params=brief, inputs=(described,), frames=(frame,), **more)


@pytest.mark.parametrize("fault", [None, out_of_room, forbidden], ids=["replayed", "no room", "forbidden"])
def test_a_job_is_done_alike_whether_it_can_be_replayed_or_not(
    a_worker: worker.Worker, fault: Callable[..., Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = a_worker.result(a_job())
    a_worker._cache.unload()
    card = FakeCard()
    if fault:
        monkeypatch.setattr(card, "record", fault)
    monkeypatch.setattr(models, "recorder", lambda _device: card)
    done = a_worker.result(a_job())
    assert bytes(done.frames[0]) == bytes(expected.frames[0])
    assert done.info["degraded"] == []
    assert (card.replays > 0) == (fault is None)


def test_a_network_that_is_unloaded_leaves_no_recording(card: FakeCard) -> None:
    cache = devices.NetworkCache(1 << 30)
    network = cache.get("efficientnet_lite0", CPU, torch.float32)
    recorded(network, (64, 64), layers=("blocks.2",))
    assert any(each.held() for each in card.recordings)
    del network
    cache.unload()
    assert not any(each.held() for each in card.recordings)


# What goes to and fro


class Sent(TorchDispatchMode):
    """What is sent to another device."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        named = named or {}
        if function is torch.ops.aten._to_copy.default and given[0].device == CPU:
            self.tensors.append(given[0])
        return function(*given, **named)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_picture_is_sent_in_one_piece_as_it_came(dtype: str) -> None:
    picture = Picture.read(
        Array("image", 0, dtype, (20, 30, 4)), bytes(20 * 30 * 4 * getattr(torch, dtype).itemsize)
    )
    with Sent() as sent:
        colour = picture.colour(META)
    assert (colour.shape, colour.dtype, colour.device) == ((3, 20, 30), torch.float32, META)
    (tensor,) = sent.tensors
    assert tensor is picture.pixels


class Slow:
    """Pixels that are still on their way from a card when they are asked for the first time, and the second."""

    def __init__(self, found: Tensor) -> None:
        self._found, self._asked = found, 0

    @classmethod
    def of(cls, found: Tensor) -> Slow:
        return cls(found)

    def pixels(self) -> Tensor | None:
        self._asked += 1
        return self._found if self._asked == 3 else None


def test_a_preview_on_its_way_keeps_nobody_waiting_and_comes_when_it_is_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "PROGRESS_EVERY", 0)
    monkeypatch.setattr(run, "PREVIEWS_SHARE", 1e9)
    sent: list[Message] = []
    channel = run.Channel(sent.append, lambda: "")
    attempt, cache = devices.Attempt(CPU, 256), devices.NetworkCache(1 << 30)
    job = a_job(preview=Preview(interval_ms=0))  # ten steps of one window

    def messages() -> list[type]:
        sent.clear()
        run.Run(job, validate("dream", job.params), attempt, cache, channel).result()
        return [type(each) for each in sent if getattr(each, "state", "") != "loading"]

    assert messages()[:18] == [ProgressIs, PreviewIs] * 9
    monkeypatch.setattr(run, "Arriving", Slow)
    assert messages()[:13] == [ProgressIs, *[ProgressIs, ProgressIs, PreviewIs] * 4]


def test_pixels_of_the_processor_are_here_at_once() -> None:
    here = torch.arange(12).view(2, 6)
    assert Arriving.of(here).pixels() is not None
    assert torch.equal(Arriving.of(here.T).pixels(), here.T)  # type: ignore[arg-type]
