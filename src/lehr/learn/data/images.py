"""The pixels of a pack as a tensor on the training device, read crop by crop. Legend: crops.py."""

from __future__ import annotations

import numpy as np
import torch

from lehr.learn.data.crops import Crops, coordinates, sizes
from lehr.learn.data.packs import Pack
from lehr.learn.device import Device

_RESIDENT_SHARE = 0.4
"""A pack moves to the accelerator when it takes at most this share of the free memory there."""


class Images:
    """Reads crops of a pack. On an accelerator the whole pack lies in its memory when it fits."""

    def __init__(self, pack: Pack, device: Device) -> None:
        self.pack, self.device = pack, device
        self.offsets_N = np.array([record.offset // 3 for record in pack.records], dtype=np.int64)
        self.pixels_P3 = self._placed() if pack.is_raw else None

    def leave(self) -> bool:
        """Gives the accelerator's memory back; crops are cut here from now on. False where there is none to give."""
        if self.pixels_P3 is None or not self.pixels_P3.is_cuda:
            return False
        self.pixels_P3 = torch.from_numpy(self.pack.bytes_).view(-1, 3)
        return True

    def crops(self, crops: Crops) -> torch.Tensor:
        """uint8 [B, 3, S, S] on the training device, channels last in memory."""
        heights_B, widths_B = sizes(self.pack, crops.rows_B)
        lines_BS, columns_BS = coordinates(crops, heights_B, widths_B)
        if self.pixels_P3 is None:
            pixels_P3, starts_B = self._decoded(crops.rows_B)
        else:
            pixels_P3, starts_B = self.pixels_P3, self.offsets_N[crops.rows_B]
        first_BS = starts_B[:, None] + lines_BS * widths_B[:, None]
        place = pixels_P3.device
        index_BSS = torch.from_numpy(first_BS).to(place)[:, :, None] + torch.from_numpy(columns_BS).to(place)[:, None]
        batch_BSS3 = pixels_P3[index_BSS.reshape(-1)].view(*index_BSS.shape, 3)
        return batch_BSS3.to(self.device.name, non_blocking=True).permute(0, 3, 1, 2)

    def _placed(self) -> torch.Tensor:
        pixels_P3 = torch.from_numpy(self.pack.bytes_).view(-1, 3)
        if self.device.is_cuda:
            free, _ = torch.cuda.mem_get_info(self.device.name)
            if pixels_P3.nbytes <= _RESIDENT_SHARE * free:
                return pixels_P3.to(self.device.name)
        return pixels_P3

    def _decoded(self, rows_B: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """The pictures of one batch end to end, and where each begins (in pixels)."""
        pictures = [self.pack.pixels(row).reshape(-1, 3) for row in rows_B]
        starts_B = np.cumsum([0] + [len(picture) for picture in pictures[:-1]])
        return torch.from_numpy(np.concatenate(pictures)), starts_B
