"""What bfloat16 gains: ten steps of every template's network, as a training measures them before it begins.

    python benchmarks/precision.py

Every trainable template with its defaults, but random weights where it would need any that do not come with Lehr, on
random pictures. Told are seconds of a step in bfloat16 and in float32 and what was decided; a training remembers that.
Templates whose steps are of a head on cached features, too short to tell, are left out.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from machine import described

from lehr.settings import share_cores

CONCEPTS = ("a", "b", "c", "d")


def main() -> None:
    """Prints a line per template."""
    share_cores()
    from lehr import templates
    from lehr.learn.device import choose_device

    device = choose_device()
    print(f"a step in bfloat16 and in float32; {described()}; {device.name}, {device.threads} threads", flush=True)
    if not device.is_bf16:
        print("This hardware does not compute bfloat16: everything is in float32.")
        return
    for template in templates.CATALOGUE:
        tried(template, device)


def tried(template: object, device: object) -> None:
    """One template."""
    from lehr.hyperparameters import parse
    from lehr.learn.precision import BF16, F32, Precision
    from lehr.learn.probe import random_data

    needs_weights = "pretrained_weights" in template.form.model_fields and not template.name.startswith("Lehr")
    form = parse(template.form, {"pretrained_weights": "none"} if needs_weights else {}).form
    with tempfile.TemporaryDirectory() as folder:
        data = random_data(template.data_order(form, CONCEPTS), Path(folder) / "packs")
        recipe, began = template.recipe(form, data.problem(device)), time.perf_counter()
        precision = Precision(folder=Path(folder) / "measured")
        decided = precision.decided(recipe, data)
        seconds = precision.remembered(recipe)
    if seconds is None:
        print(f"{template.model_type:20} {template.name:36} could not be tried", flush=True)
    if seconds is None or seconds[BF16] < 0.005:
        return
    print(
        f"{template.model_type:20} {template.name:36} {recipe.preprocessing.side} pixels   "
        f"{seconds[BF16]:.3f} s, {seconds[F32]:.3f} s: {decided.problem.device.precision}   "
        f"tried in {time.perf_counter() - began:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
