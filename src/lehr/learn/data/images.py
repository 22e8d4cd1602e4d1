"""The pixels of a pack as a tensor on the training device, read crop by crop. Legend: crops.py."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from lehr.learn.advance import made_together
from lehr.learn.data.crops import Crops, coordinates, sizes
from lehr.learn.data.packs import Pack
from lehr.learn.data.upload import uploaded
from lehr.learn.device import Device
from lehr.learn.memory_limit import available_bytes

_RESIDENT_SHARE = 0.4
"""A pack moves to the accelerator when it takes at most this share of the free memory there."""


class Images:
    """Reads crops of a pack. On an accelerator the whole pack lies in its memory when it fits."""

    def __init__(self, pack: Pack, device: Device) -> None:
        self.pack, self.device = pack, device
        self.offsets_N = np.array([record.offset // 3 for record in pack.records], dtype=np.int64)

    @cached_property
    def pixels(self) -> torch.Tensor | None:
        """uint8 [P, 3], all end to end, moved when first asked for; None where the pack holds JPEGs."""
        return self._placed() if self.pack.is_raw else None

    def leave(self) -> bool:
        """Gives the accelerator's memory back; crops are cut here from now on. False where there is none to give."""
        if self.pixels is None or not self.pixels.is_cuda:
            return False
        self.pixels = torch.from_numpy(self.pack.bytes_).view(-1, 3)
        return True

    def crops(self, crops: Crops) -> torch.Tensor:
        """uint8 [B, 3, S, S] on the training device, channels last in memory."""
        heights_B, widths_B = sizes(self.pack, crops.rows_B)
        lines_BS, columns_BS = coordinates(crops, heights_B, widths_B)
        if self.pixels is None:
            pixels_P3, starts_B = self._decoded(crops.rows_B)
        else:
            pixels_P3, starts_B = self.pixels, self.offsets_N[crops.rows_B]
        first_BS = starts_B[:, None] + lines_BS * widths_B[:, None]
        place = pixels_P3.device
        index_BSS = uploaded(first_BS, place)[:, :, None] + uploaded(columns_BS, place)[:, None]
        batch_BSS3 = pixels_P3[index_BSS.reshape(-1)].view(*index_BSS.shape, 3)
        if place != torch.device(self.device.name):
            batch_BSS3 = uploaded(batch_BSS3.numpy(), self.device.name)
        return batch_BSS3.permute(0, 3, 1, 2)

    def _placed(self) -> torch.Tensor:
        pixels_P3 = torch.from_numpy(self.pack.bytes_).view(-1, 3)
        if self.device.is_cuda and pixels_P3.nbytes <= _RESIDENT_SHARE * available_bytes(self.device):
            with torch.inference_mode(False):  # features and evaluations may be the first to ask
                return pixels_P3.to(self.device.name)
        return pixels_P3

    def _decoded(self, rows_B: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """The pictures of one batch end to end, and where each begins (in pixels)."""
        pictures = made_together(lambda row: self.pack.pixels(row).reshape(-1, 3), rows_B)
        starts_B = np.cumsum([0] + [len(picture) for picture in pictures[:-1]])
        return torch.from_numpy(np.concatenate(pictures)), starts_B
