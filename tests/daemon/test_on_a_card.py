"""What a card makes, against what the processor makes: for machines that have one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
import zmq
from torch import Tensor
from torch.nn import functional as F

from dreamd import devices, models, weights, worker
from dreamd.core.dream import Settings, dream
from dreamd.core.objectives import energy
from dreamd.pixels import Arriving, Picture, encode
from dreamd.replay import Recordings, recorder
from dreamd.sample import cloudscape
from dreamwire.messages import Array, Done, Submit
from every_operation import LAYERS, LITE0, both_ways, everything, pixels, recorded

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA card", allow_module_level=True)

CARD, CPU = torch.device("cuda"), torch.device("cpu")


def lite0(device: torch.device, dtype: torch.dtype = torch.float32) -> models.LoadedNetwork:
    return models.load(LITE0, weights.require(LITE0), device, dtype)


def sky() -> Tensor:
    """A part of the sample, (3, 320, 384)."""
    return torch.from_numpy(cloudscape()[0][100:420, 100:484].copy()).permute(2, 0, 1).float() / 255


def near(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    found, expected = found.cpu().float(), expected.cpu().float()
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def cosine(found: Tensor, expected: Tensor) -> float:
    return float(torch.cosine_similarity(found.cpu().flatten().float(), expected.cpu().flatten().float(), 0))


def quickest() -> torch.dtype:
    return devices.choose_dtype("auto", CARD)


def test_float32_is_float32() -> None:
    """And not TF32, which would be a thousandth off."""
    everything(CARD)
    shown, kernel = torch.rand(1, 64, 40, 40), torch.rand(64, 64, 3, 3)
    assert near(F.conv2d(shown.to(CARD), kernel.to(CARD)), F.conv2d(shown.double(), kernel.double()), 1e-5)


def test_activations_and_gradients_are_those_of_the_processor() -> None:
    for layers in (("blocks.4", "blocks.10"), ("classes",)):
        shown = sky()[None]
        found, expected = (both_ways(lite0(device), shown, *layers) for device in (CARD, CPU))
        assert all(near(*pair) for pair in zip(found, expected, strict=True))


def test_every_operation_is_that_of_the_processor() -> None:
    for size in ((64, 96), (61, 83)):
        found, expected = (both_ways(everything(device), pixels(*size), *LAYERS) for device in (CARD, CPU))
        assert all(near(*pair) for pair in zip(found, expected, strict=True))


def test_in_the_quickest_arithmetic_the_gradient_points_where_it_points_in_float32() -> None:
    networks = [lite0(CARD, dtype) for dtype in (quickest(), torch.float32)]
    found, expected = (both_ways(network, sky()[None], "blocks.10")[-1] for network in networks)
    assert cosine(found, expected) > 0.9


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_replayed_is_what_it_is_step_by_step(count: int) -> None:
    networks = [(lite0(CARD, quickest()), ("blocks.4", "blocks.10")), (everything(CARD), LAYERS)]
    for network, layers in networks:
        assert network.recordings is not None
        expected, found = [], []
        for results, off in ((expected, True), (found, False)):
            network.recordings.off = off
            for seed in range(6):
                results.append(both_ways(network, pixels(96, 128, count, seed), *layers))
        assert (network.recordings.off, len(network.recordings)) == (False, 1)
        for one, other in zip(found, expected, strict=True):
            assert all(cosine(*pair) > 0.999 for pair in zip(one, other, strict=True))


def test_replays_of_several_shapes_and_networks_do_not_disturb_each_other() -> None:
    one, other = everything(CARD), lite0(CARD)
    recorded(one, (64, 96), (48, 48))
    recorded(other, (64, 64), layers=("blocks.4",))
    shown = [pixels(64, 96, seed=1), pixels(48, 48, seed=2)]
    expected = [both_ways(everything(CPU), each, *LAYERS) for each in shown]
    leaves = [each.to(CARD).requires_grad_() for each in shown]
    activations = [one.features(each, LAYERS) for each in leaves]
    both_ways(other, pixels(64, 64), "blocks.4")
    for leaf, found, wanted in zip(leaves, activations, expected, strict=True):
        total = torch.stack([each.square().sum() for each in found]).sum()
        (gradient,) = torch.autograd.grad(total, leaf)
        assert all(near(*pair) for pair in zip([*found, gradient], wanted, strict=True))


def test_a_recording_that_fails_leaves_the_card_as_it_was() -> None:
    found = recorder(CARD)
    assert found is not None
    recordings = Recordings("A network that looks at values", found)

    def forward(shown: Tensor) -> tuple[list[Tensor], list[Any]]:
        return [shown * float(shown.sum())], []

    def backward(gradients: Sequence[Tensor | None], tape: list[Any]) -> Tensor:
        assert gradients[0] is not None
        return gradients[0]

    usual = torch.cuda.current_stream(CARD)
    for _ in range(5):
        assert recordings.window("it", forward, backward, pixels(8, 8).to(CARD)) is None
    assert recordings.off
    assert torch.cuda.current_stream(CARD) == usual
    network = everything(CARD)
    recorded(network, (64, 96))
    assert network.recordings is not None
    assert (network.recordings.off, len(network.recordings)) == (False, 1)


def test_windows_shown_together_make_the_dream_that_they_make_one_by_one() -> None:
    source, mask = sky().to(CARD), torch.ones(320, 384, device=CARD)
    settings = Settings(octaves=1, steps=2, jitter=16, window=160, context=128)
    found = []
    for at_once in (0, 1 << 20):
        network = lite0(CARD)
        network.at_once = at_once
        *_, last = dream(network, energy({"blocks.4": 1.0}), source, mask, settings)
        found.append(last.picture())
    assert float((found[0] - found[1]).abs().mean()) < 1e-3


def test_a_dream_is_that_of_the_processor() -> None:
    settings = Settings(octaves=2, steps=2, jitter=16, context=128)
    pictures = []
    for device in (CARD, CPU):
        source = sky().to(device)
        *_, last = dream(lite0(device), energy({"blocks.4": 1.0}), source, torch.ones_like(source[0]), settings)
        pictures.append(last.picture().cpu())
    assert float((pictures[0] - pictures[1]).abs().mean()) < 1e-3


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pixels_of_every_type_go_there_and_back(dtype: str) -> None:
    sent = (pixels(20, 30)[0].permute(1, 2, 0) * {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]).contiguous()
    sent = sent.to(torch.int32).to(getattr(torch, dtype)) if dtype != "float32" else sent
    picture = Picture.read(Array("image", 0, dtype, (20, 30, 3)), sent.numpy().tobytes())
    there = encode(picture.colour(CARD), dtype).permute(1, 2, 0)
    arriving = Arriving.of(there)
    torch.cuda.synchronize()
    here = arriving.pixels()
    assert here is not None
    assert here.numpy().tobytes() == sent.numpy().tobytes()


@pytest.fixture
def a_worker() -> Iterator[worker.Worker]:
    """A worker in this process, whose messages nobody reads."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as front, context.socket(zmq.PAIR) as socket:
        front.bind("inproc://worker")
        socket.connect("inproc://worker")
        yield worker.Worker(socket, CARD, 1 << 30)


def job(side: int) -> Submit:
    shown = (pixels(side, side)[0].permute(1, 2, 0) * 255).byte().contiguous()
    brief = {"octaves": 2, "steps": 6, "layers": "blocks.4"}
    described = Array("image", 0, "uint8", (side, side, 3))
    return Submit(
        job=str(uuid.uuid4()), kind="dream", params=brief, inputs=(described,), frames=(shown.numpy().tobytes(),)
    )


def test_a_job_is_done_on_the_card_and_gives_its_memory_back(a_worker: worker.Worker) -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(CARD)
    done: Done = a_worker.result(job(700))
    assert done.info["device"] == "cuda"
    assert done.info["degraded"] == []
    a_worker._cache.unload()
    assert torch.cuda.memory_reserved(CARD) <= before + (64 << 20)


def test_a_job_that_the_card_has_no_room_for_is_done_all_the_same(a_worker: worker.Worker) -> None:
    total = torch.cuda.get_device_properties(CARD).total_memory
    torch.cuda.empty_cache()
    # A window of all of it takes more, one of 1024² less.
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(CARD) + (1 << 30)) / total)
    try:
        done = a_worker.result(job(1900))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert done.info["degraded"][0] == "the window was reduced to 1024 px"
