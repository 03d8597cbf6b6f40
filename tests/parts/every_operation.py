"""A small network of every operation that has a gradient of its own, and what tests ask of networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamd import models, replay
from dreamd.convolutions import SameConv2d
from dreamwire.networks import NETWORKS

LITE0 = NETWORKS["efficientnet_lite0"]
LAYERS = ("second", "last")


class _Everything(nn.Module):
    """All that is written, and what is left to autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = SameConv2d(3, 8, 3, 2), nn.Conv2d(8, 6, 3, padding=1)
        self.third, self.norm = nn.Conv2d(8, 4, 5, 2, 2), nn.BatchNorm2d(4)
        self.fourth = SameConv2d(10, 10, 3, 1, groups=10)
        self.last = SameConv2d(10, 10, 5, 2, groups=10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.first(x))
        low = F.relu(self.norm(self.third(x)))
        x = torch.cat([F.max_pool2d(F.relu(self.second(x)), 3, 2, 1), low], 1)
        y: Tensor = self.last(F.avg_pool2d(F.relu(self.fourth(x)) + x, 2))
        return y


def everything(device: torch.device) -> models.LoadedNetwork:
    """The network, with weights of its own; its `LAYERS` lie apart."""
    torch.manual_seed(0)
    traced = models.trace(_Everything().eval().requires_grad_(False), LAYERS)
    return models.LoadedNetwork(LITE0, traced, device, torch.float32)


def pixels(height: int, width: int, count: int = 1, seed: int = 0) -> Tensor:
    """Noise, (count, 3, height, width)."""
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def both_ways(network: models.LoadedNetwork, shown: Tensor, *layers: str) -> list[Tensor]:
    """A network's activations, and the gradient of their energy."""
    shown = shown.to(network.device).requires_grad_()
    found = network.features(shown, layers)
    total = torch.stack([each.float().square().sum() for each in found]).sum()
    return [*(each.detach() for each in found), *torch.autograd.grad(total, shown)]


def recorded(network: models.LoadedNetwork, *sizes: tuple[int, int], layers: tuple[str, ...] = LAYERS) -> None:
    """Shows a network windows of some sizes until they are recorded."""
    for size in sizes:
        for seed in range(replay.SEEN + 1):
            both_ways(network, pixels(*size, seed=seed), *layers)
