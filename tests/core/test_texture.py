"""Detail is added where there is some, not to a sky."""

from __future__ import annotations

import pytest
import torch

from dreamd.core.texture import END, texture


def test_plain_places_have_none_and_rich_ones_nearly_all() -> None:
    image = torch.full((3, 60, 60), 0.6)
    image[:, :, 40:] = torch.rand(1, 60, 20, generator=torch.Generator().manual_seed(1))
    found = texture(image, 2)
    assert found[:, :20].max() < 0.05
    assert found[:, 50:].min() > 0.8
    assert texture(torch.rand(1, 1, 1), 3).item() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("step", [1, 3])
def test_only_the_neighbourhood_matters_to_the_bit(step: int) -> None:
    image = torch.rand(3, 90, 95, generator=torch.Generator().manual_seed(1))
    around = END * step
    part = texture(image[:, 11:80, 7:], step)
    whole = texture(image, step)[11:80, 7:]
    inside = slice(around, -around), slice(around, None)
    assert torch.equal(part[inside].view(torch.int32), whole[inside].view(torch.int32))
