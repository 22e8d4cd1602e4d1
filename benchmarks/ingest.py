"""Images per second that a server takes in durably from the real client, beside what disk and processor ask for.

    python benchmarks/ingest.py                         # 1,280 images, a list of 10,000 inputs; a few minutes
    python benchmarks/ingest.py --images 12800 --listed 100000        # the full run

The floor does for each batch of 128 what no server could leave out: hash, write and fsync every image once, and look at
it as a picture. Goals: at least 60 % of the floor, the last page listed as fast as the first, and a server whose memory
does not grow.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from clarifai.client.input import Inputs
from clarifai.client.user import User
from clarifai_grpc.grpc.api import resources_pb2, service_pb2
from machine import described
from PIL import Image
from server import TOKEN, Running, running

BATCH = 128
SIDE = 256
AT_ONCE = 4
SYNCS_AT_ONCE = 4
PER_PAGE = 128


def main() -> None:
    """Prints each figure beside its goal."""
    options = _options()
    print(f"taking inputs in, batches of {BATCH}, {AT_ONCE} at a time; {described()}")
    pictures = [_picture(seed) for seed in range(options.images)]
    size = sum(map(len, pictures)) // len(pictures)
    print(f"  {len(pictures):,} JPEG images of {SIDE} x {SIDE}, {size:,} bytes on average")
    floor = _floor(pictures)
    print(f"  {'floor: hash, write, fsync, decode':<35} {floor:8.1f} images/s")
    with running() as server:
        user = User(user_id="lehr", base_url=server.base, pat=TOKEN)
        taken_in, processed = _uploaded(user.create_app("bench", base_workflow="Empty"), pictures)
        again = _floor(pictures)
        print(f"  {'the floor once more, afterwards':<35} {again:8.1f} images/s")
        floor = (floor + again) / 2  # disks change from one minute to the next
        for what, rate in (("accepted, durably (goal 60 %)", taken_in), ("accepted and processed", processed)):
            print(f"  {what:<35} {rate:8.1f} images/s  {100 * rate / floor:5.1f} % of the floor")
        _listed(user.create_app("long", base_workflow="Empty"), server, options.listed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10 * BATCH, help="images to upload")
    parser.add_argument("--listed", type=int, default=10_000, help="inputs to list")
    return parser.parse_args()


def _picture(seed: int) -> bytes:
    """A noisy photograph-like JPEG: a smooth field with some grain, some 20 kB."""
    random = np.random.default_rng(seed)
    field = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    coarse = field.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    grain = random.normal(0, 12, (SIDE, SIDE, 3))
    out = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


# -- the floor ---------------------------------------------------------------------------------------------------------


def _floor(pictures: Sequence[bytes]) -> float:
    """Images a second, batch by batch on all cores: writing with the same number of threads as the store has."""
    with tempfile.TemporaryDirectory(prefix="lehr-floor-") as folder, ThreadPoolExecutor(os.cpu_count()) as cores:
        disk = ThreadPoolExecutor(SYNCS_AT_ONCE)
        started = time.perf_counter()
        for batch in _batches(pictures):
            written = [disk.submit(_kept, Path(folder), data) for data in batch]
            list(cores.map(_looked_at, batch))
            for each in written:
                each.result()
        seconds = time.perf_counter() - started
        disk.shutdown()
    return len(pictures) / seconds


def _kept(folder: Path, data: bytes) -> None:
    path = folder / hashlib.sha256(data).hexdigest()
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _looked_at(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (SIDE, SIDE))
        image.load()


# -- the server --------------------------------------------------------------------------------------------------------


def _uploaded(app: object, pictures: Sequence[bytes]) -> tuple[float, float]:
    """Images a second until the last answer, and until the last one is processed; through the package's own calls."""
    inputs: Inputs = app.inputs()
    protos = [inputs.get_input_from_bytes(f"i{n}", image_bytes=data) for n, data in enumerate(pictures)]
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as clients:
        answers = list(clients.map(lambda batch: _sent(inputs, batch), _batches(protos)))
    accepted = time.perf_counter() - started
    assert all(answers), "an upload was refused"
    while app.get_input_count() < len(pictures) or _waiting(inputs):
        time.sleep(0.05)
    processed = time.perf_counter() - started
    return len(pictures) / accepted, len(pictures) / processed


def _sent(inputs: Inputs, batch: Sequence[resources_pb2.Input]) -> bool:
    request = service_pb2.PostInputsRequest(user_app_id=inputs.user_app_id, inputs=batch)
    return bool(inputs._grpc_request(inputs.STUB.PostInputs, request).status.code == 10000)


def _waiting(inputs: Inputs) -> int:
    request = service_pb2.GetInputCountRequest(user_app_id=inputs.user_app_id)
    counts = inputs._grpc_request(inputs.STUB.GetInputCount, request).counts
    return int(counts.to_process + counts.processing)


def _listed(app: object, server: Running, number: int) -> None:
    """Fills an app with short texts, lists them page by page both ways, and watches the server's memory."""
    inputs: Inputs = app.inputs()
    texts = (
        resources_pb2.Input(id=f"t{n}", data=resources_pb2.Data(text=resources_pb2.Text(raw=f"text {n}")))
        for n in range(number)
    )
    memory = [_memory(server.process.pid)]
    started = time.perf_counter()
    for batch in _batches(texts):
        assert _sent(inputs, batch)
    print(f"  {number:,} texts taken in              {number / (time.perf_counter() - started):8.1f} inputs/s")
    memory.append(_memory(server.process.pid))
    for name, pages in (("pages", _by_page(inputs)), ("StreamInputs", _by_last(inputs))):
        times, seen = [], 0
        began = time.perf_counter()
        for count in pages:
            times.append((time.perf_counter() - began) * 1000)
            seen += count
            began = time.perf_counter()
        assert seen == number, f"{name} listed {seen} of {number}"
        tenth = max(1, len(times) // 10)
        first, last = statistics.median(times[:tenth]), statistics.median(times[-tenth - 1 : -1] or times)
        print(f"  {name:<14} first tenth {first:6.1f} ms a page, last tenth {last:6.1f} ms ({last / first:.2f} x)")
        memory.append(_memory(server.process.pid))
    shown = ", ".join(f"{each:.0f}" for each in memory)
    print(f"  memory of the control plane, MiB: {shown} (after uploads, after texts, after each listing)")


def _by_page(inputs: Inputs) -> Iterator[int]:
    page = 1
    while True:
        request = service_pb2.ListInputsRequest(user_app_id=inputs.user_app_id, page=page, per_page=PER_PAGE)
        found = len(inputs._grpc_request(inputs.STUB.ListInputs, request).inputs)
        yield found
        if not found:
            return
        page += 1


def _by_last(inputs: Inputs) -> Iterator[int]:
    last = ""
    while True:
        request = service_pb2.StreamInputsRequest(user_app_id=inputs.user_app_id, last_id=last, per_page=PER_PAGE)
        found = inputs._grpc_request(inputs.STUB.StreamInputs, request).inputs
        yield len(found)
        if not found:
            return
        last = found[-1].id


def _memory(pid: int) -> float:
    """Resident memory of one process, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _batches(items) -> Iterator[list]:
    batch: list = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


if __name__ == "__main__":
    main()
