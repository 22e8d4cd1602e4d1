"""Makes the photographs of the quality benchmark: class folders from Tux Paint's stamps, which are cut-out photographs.

    apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb stamps
    python benchmarks/photos.py stamps photos

The stamps are in the public domain or under free licences, named in the package. Drawn ones are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

KINDS = {
    "bird": "animals/birds",
    "mammal": "animals/mammals",
    "fish": "animals/fish",
    "fruit": "food/fruit",
    "vegetable": "food/vegetables",
    "flower": "plants/flowers",
    "vehicle": "vehicles",
    "household": "household",
    "instrument": "hobbies/music",
    "clothes": "clothes",
    "road sign": "town/roadsigns",
    "money": "symbols/money",
}
DRAWN = ("cartoon", "plastic", "_mirror")
SMALLEST = 40


def main() -> None:
    """Writes OUT/KIND/NAME.jpg."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stamps", type=Path, help="where the package was unpacked")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    for kind, folder in KINDS.items():
        found = list(photographs(options.stamps / "usr/share/tuxpaint/stamps" / folder))
        (options.out / kind).mkdir(parents=True, exist_ok=True)
        for path in found:
            on_white(path).save(options.out / kind / f"{path.stem}.jpg", "JPEG", quality=92)
        print(f"{kind:12} {len(found):4}")


def photographs(folder: Path) -> Iterator[Path]:
    """Those at any depth that are no drawing and large enough, in the order of their names."""
    for path in sorted(folder.rglob("*.png")):
        if not any(word in str(path.relative_to(folder)) for word in DRAWN):
            with Image.open(path) as image:
                if min(image.size) >= SMALLEST:
                    yield path


def on_white(path: Path) -> Image.Image:
    """The cut-out on a white ground."""
    with Image.open(path) as image:
        cut_out = image.convert("RGBA")
    ground = Image.new("RGBA", cut_out.size, "white")
    return Image.alpha_composite(ground, cut_out).convert("RGB")


if __name__ == "__main__":
    main()
