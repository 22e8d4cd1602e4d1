"""One decoder: takes untrusted bytes on its socket, answers bounded pixels, one at a time, within hard limits.

Run by `DecoderPool` as `python -m lehr.serving.decoder_process`; imports no torch. What it may use is set before the
first byte is read: memory, CPU time per item, no files written, no core dumps. A picture is one answer; the frames of a
video are a sequence of answers, the last of which says so.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lehr.errors import LehrError, TooLarge
from lehr.learn.data import decode
from lehr.learn.data.video import VideoFrame, VideoLimits
from lehr.serving import wire
from lehr.serving.children import die_with_parent

_TOO_MUCH_MEMORY = "Decoding this {what} takes more memory than a decoder may use. Make the {what} smaller."
Answer = tuple[dict[str, Any], bytes | np.ndarray]

BATCH_FRAMES, BATCH_BYTES, BATCH_SECONDS = 32, 16 << 20, 2.0
"""Frames of a video travel together until one of these is reached."""
_FILM_ORDERS = ("probe_video", "inspect_video", "frame")


def main() -> None:
    """Serves until the other end of the socket closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--limits", type=json.loads, required=True)
    parser.add_argument("--video-limits", type=json.loads, required=True)
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--cpu-seconds", type=float, required=True)
    options = parser.parse_args()
    die_with_parent(options.parent)
    confine(options.memory_bytes)
    limits = decode.Limits(**options.limits)
    film_limits = VideoLimits(**options.video_limits)
    with socket.socket(fileno=options.fd) as sock:
        wire.send(sock, {"ready": True})
        try:
            while serve_one(sock, (limits, film_limits), options.cpu_seconds):
                pass
        except wire.HangUpError:
            return


def confine(memory_bytes: int) -> None:
    """Limits this process: `memory_bytes` of address space above what it has now, no file growth, no core dump."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    memory = pages * resource.getpagesize() + memory_bytes
    for what, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, bound))


def serve_one(sock: socket.socket, limits: tuple[decode.Limits, VideoLimits], cpu_seconds: float) -> bool:
    """Answers one order. False when this process should not go on: its memory was exhausted once."""
    order, payload = wire.receive(sock, max_bytes=max(one.max_bytes for one in limits))
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + cpu_seconds), hard))
    try:
        if order["op"] == "frames":
            send_frames(sock, order, payload.tobytes(), limits[1])
            return True
        is_film = order["op"] in _FILM_ORDERS
        data = payload.tobytes()
        header, body = answer_film(order, data, limits[1]) if is_film else answer(order, data, limits[0])
    except LehrError as error:
        header, body = wire.described(error), b""
    except MemoryError:
        what = "video" if order["op"] in (*_FILM_ORDERS, "frames") else "image"
        wire.send(sock, wire.described(TooLarge(_TOO_MUCH_MEMORY.format(what=what))) | {"last": True})
        return False
    wire.send(sock, header, body)
    return True


def answer(order: dict[str, Any], data: bytes, limits: decode.Limits) -> Answer:
    """What `order` asks of `data`: header and payload."""
    match order["op"]:
        case "probe":
            return {"info": asdict(decode.probe(data, limits=limits))}, b""
        case "decode":
            found = decode.decode(data, shorter_side=order["shorter_side"], limits=limits)
            size = {"width": found.width, "height": found.height, "format": found.format}
            return size | {"shape": found.pixels.shape}, found.pixels
        case "inspect":
            seen = decode.inspect(data, order["longer_side"], limits=limits)
            return {"info": asdict(seen.info), "perceptual_hash": seen.perceptual_hash}, seen.thumbnail
    raise LehrError(f"A decoder knows no order {order['op']!r}.")


def answer_film(order: dict[str, Any], data: bytes, limits: VideoLimits) -> Answer:
    """What `order` asks of a video, in one answer."""
    from lehr.learn.data import film  # PyAV is loaded by the decoders that need it

    match order["op"]:
        case "probe_video":
            return {"info": asdict(film.probe(data, limits=limits))}, b""
        case "inspect_video":
            seen = film.inspect(data, order["longer_side"], limits=limits)
            return {"info": asdict(seen.info)}, seen.thumbnail
        case "frame":
            side = order["shorter_side"]
            found = film.frame_at(data, order["time_ms"], number=order["number"], shorter_side=side, limits=limits)
            return _told(found), found.pixels
    raise LehrError(f"A decoder knows no order {order['op']!r}.")


def send_frames(sock: socket.socket, order: dict[str, Any], data: bytes, limits: VideoLimits) -> None:
    """The sampled frames of a video, batch by batch; the caller's reading sets the pace."""
    from lehr.learn.data import film

    wanted = {name: order[name] for name in ("shorter_side", "max_frames")}
    shown = film.sampled(data, order["sample_ms"], **wanted, limits=limits)
    for batch in _batches(shown):
        wire.send(sock, {"frames": [_told(frame) for frame in batch]}, *(frame.pixels for frame in batch))
    wire.send(sock, {"frames": [], "end": True})


def _batches(frames: Iterator[VideoFrame]) -> Iterator[list[VideoFrame]]:
    batch: list[VideoFrame] = []
    began = time.monotonic()
    for frame in frames:
        batch.append(frame)
        num_bytes = sum(one.pixels.nbytes for one in batch)
        if len(batch) == BATCH_FRAMES or num_bytes > BATCH_BYTES or time.monotonic() - began > BATCH_SECONDS:
            yield batch
            batch, began = [], time.monotonic()
    if batch:
        yield batch


def _told(frame: VideoFrame) -> dict[str, Any]:
    facts = {"index": frame.index, "time_ms": frame.time_ms, "number": frame.number}
    return facts | {"shape": frame.pixels.shape}


if __name__ == "__main__":
    main()
