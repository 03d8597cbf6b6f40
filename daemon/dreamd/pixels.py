"""Pixels of the wire <-> tensors of the core."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamwire.errors import DreamError
from dreamwire.messages import Array, Buffer

_DTYPES: Mapping[str, torch.dtype] = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}
#: The largest number of 16-bit float pictures. Beyond it a dream's steps would be lost in rounding.
LARGEST = 65504.0
#: What white is in each type.
_WHITE: Mapping[str, float] = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}


@dataclass(frozen=True)
class Picture:
    """A picture as it came: `pixels (H, W, C)` in its own type, without a copy of the frame."""

    pixels: Tensor
    dtype: str

    @classmethod
    def read(cls, array: Array, frame: Buffer) -> Picture:
        """The picture of an `Array` and its frame. Raises `DreamError` bad_input for NaN and beyond `LARGEST`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a frame is read-only: nothing here writes into it
            pixels = torch.frombuffer(frame, dtype=_DTYPES[array.dtype]).view(array.shape)
        if array.dtype == "float32" and not bool((pixels.abs() <= LARGEST).all()):
            raise DreamError(
                "bad_input",
                f"The {array.name} holds values that are no numbers, or beyond ±{LARGEST:g}, where white is 1."
                " Replace them and try again.",
            )
        return cls(pixels, array.dtype)

    @property
    def colours(self) -> int:
        """How many channels are colour: 1 for gray, 3 for RGB."""
        return 3 if self.pixels.shape[2] >= 3 else 1

    @property
    def has_alpha(self) -> bool:
        return self.pixels.shape[2] in (2, 4)

    def colour(self, device: torch.device) -> Tensor:
        """R'G'B' or gray as float32 `(C, H, W)`, black 0 and white 1."""
        # As it came: in one piece, and integers are a quarter of what they become.
        there = self.pixels.to(device)
        return torch.stack([self._floats(there[..., channel]) for channel in range(self.colours)])

    def alpha(self, device: torch.device) -> Tensor | None:
        """The alpha as float32 `(1, H, W)`, 0 transparent; None without."""
        return self._floats(self.pixels[..., -1].to(device))[None] if self.has_alpha else None

    def mask(self, device: torch.device) -> Tensor:
        """The picture read as a mask: float32 `(H, W)`. Raises `DreamError` bad_input outside 0..1."""
        mask = self._floats(self.pixels[..., 0].to(device))
        if self.dtype == "float32" and not 0 <= float(mask.min()) <= float(mask.max()) <= 1:
            raise DreamError("bad_input", "The mask must lie between 0 and 1; scale it and try again.")
        return mask

    def filled(self, mask: Tensor, *, blended: bool) -> tuple[Picture, Tensor]:
        """The picture as its region `mask (H, W)` is filled, whatever was there, and the mask to lay that over it.

        Its alpha is at least the mask, or 1 in the region unless `blended`. Transparent pixels have no colour that
        could shine through.
        """
        alpha = self.alpha(mask.device)
        if alpha is None:
            return self, mask
        hard = (mask > 0).to(mask)
        cover = mask if blended else hard
        pixels = self.pixels.clone()
        made = encode(alpha[0] + (1 - alpha[0]) * cover, self.dtype).cpu()
        pixels[..., -1] = torch.where(mask.cpu() > 0, made, pixels[..., -1])
        return Picture(pixels, self.dtype), torch.where(alpha[0] == 0, hard, mask) if blended else mask

    def _floats(self, pixels: Tensor) -> Tensor:
        if self.dtype == "float32":
            return pixels
        return pixels.to(torch.float32).div_(_WHITE[self.dtype])

    def replaced(self, top: int, left: int, colour: Tensor, changed: Tensor, alpha: Tensor | None) -> Tensor:
        """The pixels `(h, w, C)` from `top`, `left`, in the picture's own type, with `colour (C, h, w)` in place.

        Only where `changed (h, w)`: everything else is the picture's own to the bit, and so is the alpha if no
        `alpha (1, h, w)` is given.
        """
        height, width = changed.shape
        part = self.pixels[top : top + height, left : left + width].clone()
        new = encode(colour, self.dtype).permute(1, 2, 0).cpu()
        part[..., : self.colours] = torch.where(changed[..., None].cpu(), new, part[..., : self.colours])
        if alpha is not None:
            part[..., -1] = encode(alpha[0], self.dtype).cpu()
        return part


def encode(colour: Tensor, dtype: str) -> Tensor:
    """Float colours, white 1, as a type of the wire: whole numbers are rounded and kept in range."""
    if dtype == "float32":
        return colour
    white = _WHITE[dtype]
    coded = torch.empty(colour.shape, dtype=_DTYPES[dtype], device=colour.device)
    # By way of int32: not every operation knows uint16.
    for channel, result in zip(colour, coded, strict=True):
        result.copy_((channel * white).round_().clamp_(0, white).to(torch.int32))
    return coded


@dataclass(frozen=True)
class Arriving:
    """Pixels on their way to the processor. A card meanwhile goes on with what it is asked for next."""

    _pixels: Tensor
    _event: torch.cuda.Event | None

    @classmethod
    def of(cls, pixels: Tensor) -> Arriving:
        """Sets them off, from whichever device."""
        if pixels.device.type != "cuda":
            return cls(pixels.cpu(), None)
        # Only into pinned memory does a card write by itself.
        here = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
        here.copy_(pixels, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(pixels.device))
        return cls(here, event)

    def pixels(self) -> Tensor | None:
        """They themselves; None while they are not here."""
        here = self._event is None or self._event.query()  # type: ignore[no-untyped-call]
        return self._pixels if here else None


def to_frame(pixels: Tensor) -> memoryview:
    """The bytes of a tensor on the processor, without a copy if it is contiguous."""
    return pixels.contiguous().numpy().data.cast("B")
