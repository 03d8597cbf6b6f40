"""How far a job is, and what its picture has come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from .pyramid import resize
from .region import Box, whole


@dataclass(frozen=True)
class Progress:
    """Where a job is, after each window: `step` of `steps` in `octave` of `octaves`, all counted from 1.

    `window` equals `windows` when the step is complete; jobs without octaves or windows have one. `fraction` of
    the work is done. `value` is how far the objective has risen in the last complete step, as `rise` has it, since
    the first step of the octave; jobs that climb nothing have 0.
    """

    octave: int
    octaves: int
    step: int
    steps: int
    window: int
    windows: int
    fraction: float
    value: float
    region: Box
    _picture: Callable[[], Tensor] = field(repr=False, compare=False)
    _sketch: Callable[[Sequence[int]], Tensor] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of_step(
        cls, step: int, steps: int, region: Box, picture: Callable[[], Tensor], value: float = 0.0
    ) -> Progress:
        """Where a job without octaves and windows is."""
        return cls(1, 1, step, steps, 1, 1, step / steps, value, region, picture)

    def over(self, source: Tensor) -> Progress:
        """The same of all of the picture `source (C, H, W)` that the region is in."""

        def picture() -> Tensor:
            result = source.clone()
            result[self.region.index] = self.picture()
            return result

        return replace(self, region=whole(source)).showing(picture)

    def showing(self, picture: Callable[[], Tensor]) -> Progress:
        """The same with another picture."""
        return replace(self, _picture=picture, _sketch=None)

    def picture(self) -> Tensor:
        """The region's pixels `(C, h, w)` as dreamt so far, at full resolution; they belong at `region`."""
        return self._picture()

    def sketch(self, size: Sequence[int]) -> Tensor:
        """About the same, reduced to `size`, for somebody who looks on: of a large picture it takes less time."""
        if self._sketch is None or tuple(size) == (self.region.height, self.region.width):
            return resize(self.picture(), size)
        return self._sketch(size)


def rise(before: Sequence[float], now: Sequence[float]) -> float:
    """How far a sum has risen, from -1 to 1: its change over the sizes of all its terms, before and now.

    Unlike a ratio it says the same of sums below 0, or around it. 0 is where the sum was, 1/3 where a positive one
    has doubled, 1 where it has come from below 0 to above.
    """
    size = sum(map(abs, before)) + sum(map(abs, now))
    return (sum(now) - sum(before)) / size if size else 0.0
