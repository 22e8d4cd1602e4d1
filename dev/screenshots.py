"""Makes docs/screenshots: runs the browser's stories, and keeps the pictures that the README shows, small.

Not part of any test. Takes some minutes: a classifier and a detector are trained, and the built-in models are made.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent.parent / "docs" / "screenshots"
KEPT = {
    "training": "training",
    "evaluation-confusion": "confusion",
    "try": "try-it",
    "search": "search",
    "workflow-problem": "workflow",
    "boxes-over-truth-dark": "boxes-over-truth-dark",
    "inputs": "inputs",
    "input-video": "video",
    "boxes": "boxes",
    "search-detected": "search-detected",
}
"""What a story calls it → what the README calls it."""
STORIES = ("new_user", "learning", "using", "detector_and_embedder_pages", "videos", "detector_by_hand")


def main() -> None:
    """Every picture that its story took."""
    with tempfile.TemporaryDirectory() as taken:
        stories = [f"tests/web/test_{name}.py" for name in STORIES]
        command = [sys.executable, "-m", "pytest", *stories, "--screenshots", taken]
        done = subprocess.run(command, check=False)  # noqa: S603 our own tests
        for told, name in KEPT.items():
            picture = Path(taken) / f"{told}.png"
            if picture.exists():
                Image.open(picture).convert("RGB").save(FOLDER / f"{name}.webp", quality=80, method=6)
            else:
                print(f"{name}.webp stays as it was: no story took {told}.png")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
