"""The web page over 100,000 inputs: how soon pictures are in sight, how smoothly it scrolls. `python benchmarks/web.py`

Goal: the first page in under 1 s on 2 cores. Needs Chromium.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import described
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from server import TOKEN, running
from sqlalchemy import update

from lehr.compose import open_store
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.services.users import Users
from lehr.settings import Settings
from lehr.store import apps, inputs, tables
from lehr.store.inputs import NewInput

NUM_INPUTS = 100_000
OPENINGS = 9
FRAMES = 300
WALL = "/users/lehr/apps/many/inputs"
_SCROLL = """async (frames) => {
  const times = [];
  let last = performance.now(), y = 0;
  window.scrollTo(0, 0);
  await new Promise((done) => {
    const frame = (now) => {
      times.push(now - last);
      last = now;
      y += 700;
      window.scrollTo(0, y);
      if (times.length < frames) requestAnimationFrame(frame);
      else done();
    };
    requestAnimationFrame(frame);
  });
  return times.sort((a, b) => a - b);
}"""


def main(number: int = NUM_INPUTS) -> None:
    """Fills a home, opens the wall, jumps and scrolls."""
    print(f"the web page over {number:,} inputs; {described()}")
    with tempfile.TemporaryDirectory(prefix="lehr-web-") as folder:
        home = Path(folder) / "home"
        _fill(home, number)
        with running(home, "--workers", "0") as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            _measure(page, server.base)
            browser.close()


def _measure(page: Page, base: str) -> None:
    page.goto(base + "/sign-in")
    page.fill("#key", TOKEN)
    page.click("button")
    page.wait_for_selector(".lehr-page", timeout=60_000)
    seconds = [_opened(page, base) for _ in range(OPENINGS)]
    print(f"first pictures in sight   median {statistics.median(seconds):.2f} s   worst {max(seconds):.2f} s")
    for share in (0.25, 0.5, 0.99):
        print(f"jump to {share:.0%}   {_jumped(page, share):.2f} s")
    times = page.evaluate(_SCROLL, FRAMES)
    print(f"a frame while scrolling   p50 {times[FRAMES // 2]:.1f} ms   p95 {times[FRAMES * 95 // 100]:.1f} ms")
    print(f"elements in the page   {page.evaluate('document.querySelectorAll(`.lehr-tile`).length')} tiles")


def _opened(page: Page, base: str) -> float:
    began = time.perf_counter()
    page.goto(base + WALL)
    page.wait_for_function(
        "[...document.querySelectorAll('.lehr-tile-picture')].filter((each) => each.naturalWidth).length > 5"
    )
    return time.perf_counter() - began


def _jumped(page: Page, share: float) -> float:
    began = time.perf_counter()
    page.evaluate("(share) => window.scrollTo(0, document.documentElement.scrollHeight * share)", share)
    page.wait_for_timeout(30)
    page.wait_for_function("[...document.querySelectorAll('.lehr-tile')].every((each) => each.querySelector('img'))")
    return time.perf_counter() - began


def _fill(home: Path, number: int) -> None:
    store = open_store(Settings(home=home))
    Users(db=store.db).ensure("lehr")
    shas = [store.blobs.put(_jpeg(seed)) for seed in range(64)]
    ref = AppRef("lehr", "many")
    with store.db.write() as tx:
        apps.insert(tx, resources_pb2.App(id="many", user_id="lehr", name="many"))
    for start in range(0, number, 2000):
        rows = [_row(index, shas[index % len(shas)]) for index in range(start, min(number, start + 2000))]
        with store.db.write() as tx:
            inputs.insert(tx, ref, rows)
    with store.db.write() as tx:
        tx.execute(update(tables.inputs).values(thumbnail_sha=tables.inputs.c.content_sha))
    store.db.close()


def _row(index: int, sha: str) -> NewInput:
    message: Any = resources_pb2.Input(id=f"i{index:06d}")
    message.status.code = status_code_pb2.INPUT_DOWNLOAD_SUCCESS
    message.data.concepts.add(id=f"c{index % 10}", name=f"c{index % 10}", value=1)
    message.data.image.image_info.width, message.data.image.image_info.height = 160, 120
    message.data.image.hosted.suffix = sha
    message.data.image.hosted.sizes.extend(["orig", "small"])
    return NewInput(message=message, content_sha=sha)


def _jpeg(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
