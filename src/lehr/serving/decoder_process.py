"""One decoder: takes untrusted bytes on its socket, answers bounded pixels, one at a time, within hard limits.

Run by `DecoderPool` as `python -m lehr.serving.decoder_process`; imports no torch. What it may use is set before the
first byte is read: memory, CPU time per item, no files written, no core dumps.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lehr.errors import LehrError, TooLarge
from lehr.learn.data import decode
from lehr.serving import wire
from lehr.serving.children import die_with_parent

_TOO_MUCH_MEMORY = "Decoding this image takes more memory than a decoder may use. Make the image smaller."
Answer = tuple[dict[str, Any], bytes | np.ndarray]


def main() -> None:
    """Serves until the other end of the socket closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--limits", type=json.loads, required=True)
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--cpu-seconds", type=float, required=True)
    options = parser.parse_args()
    die_with_parent(options.parent)
    confine(options.memory_bytes)
    limits = decode.Limits(**options.limits)
    with socket.socket(fileno=options.fd) as sock:
        wire.send(sock, {"ready": True})
        try:
            while serve_one(sock, limits, options.cpu_seconds):
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


def serve_one(sock: socket.socket, limits: decode.Limits, cpu_seconds: float) -> bool:
    """Answers one order. False when this process should not go on: its memory was exhausted once."""
    order, payload = wire.receive(sock, max_bytes=limits.max_bytes)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + cpu_seconds), hard))
    try:
        header, body = answer(order, payload.tobytes(), limits)
    except LehrError as error:
        header, body = wire.described(error), b""
    except MemoryError:
        wire.send(sock, wire.described(TooLarge(_TOO_MUCH_MEMORY)) | {"last": True})
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


if __name__ == "__main__":
    main()
