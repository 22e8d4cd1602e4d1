"""`lehr demo`: the main job from an empty machine to predictions, through the unmodified public `clarifai` client.

It knows nothing of Lehr's inside: it starts `lehr serve` as a user would, in a temporary home, and talks to it.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lehr.errors import InvalidRequest, LehrError

TEMPLATE = "classification_cifar10_v1"
NUM_EPOCHS = 5
DIGITS = tuple(f"digit-{digit}" for digit in range(10))
GOOD_ENOUGH = 0.97
TRY_NEXT = """
Try next:
  lehr demo --keep          # the same, and the server stays for your own calls
  lehr templates            # what can be trained
  lehr train --template Lehr_Lite --data FOLDER_OF_CLASS_FOLDERS --out my-model   # your own images, no server
  lehr serve                # a server that keeps what you give it"""


def run(*, keep: bool = False, port: int = 0) -> int:
    """Runs the demo and returns the exit status: 0 if the accuracy reached 0.97. `keep` leaves the server running."""
    try:
        import clarifai  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise InvalidRequest(f"the demo needs the package {error.name!r}: pip install 'lehr[demo]'") from error
    folder = Path(tempfile.mkdtemp(prefix="lehr-demo-"))
    try:
        return _run_in(folder, keep=keep, port=port)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _run_in(folder: Path, *, keep: bool, port: int) -> int:
    started = time.monotonic()
    train, kept_back = _write_digits(folder / "digits")
    token = secrets.token_hex(16)
    server, base = _start_server(folder / "home", port, token)
    try:
        _say(f"Lehr runs at {base} (home {folder / 'home'})")
        accuracy = _story(base, token, folder, train, kept_back)
        _say(f"\nThe whole story took {time.monotonic() - started:.0f} s.")
        if keep:
            _say_how_to_go_on(base, token, folder, server.pid)
        else:
            _say(TRY_NEXT)
        return 0 if accuracy >= GOOD_ENOUGH else 1
    finally:
        if not keep:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def _write_digits(folder: Path) -> tuple[list[Path], list[Path]]:
    """scikit-learn's 1,797 digits as PNG files, one folder a concept; every fifth of a concept is kept back."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    seen: Counter[int] = Counter()
    train: list[Path] = []
    kept_back: list[Path] = []
    for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        part = "kept-back" if seen[label] % 5 == 4 else "train"
        seen[label] += 1
        path = folder / part / DIGITS[label] / f"digit{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * (255 / 16)).astype("uint8")).save(path)
        (train if part == "train" else kept_back).append(path)
    return train, kept_back


def _start_server(home: Path, port: int, token: str) -> tuple[subprocess.Popen[str], str]:
    """Starts `lehr serve` and waits for its ready line; returns the process and the base address."""
    home.mkdir(parents=True)
    log = (home / "server.log").open("w")
    server = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "lehr", "serve", "--home", str(home), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, "LEHR_PAT": token, "LEHR_USER_ID": "lehr"},
        start_new_session=True,
    )
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("Lehr is ready at "):
            return server, line.split()[-1]
    raise LehrError(f"the server ended with {server.wait()} before it was ready:\n{(home / 'server.log').read_text()}")


def _story(base: str, token: str, folder: Path, train: Sequence[Path], kept_back: Sequence[Path]) -> float:
    """Everything a user does, call by call. Returns the accuracy on the kept-back images."""
    _quiet_the_client()
    from clarifai.client.user import User

    app = User(user_id="lehr", base_url=base, pat=token).create_app("digits", base_workflow="Empty")
    dataset = app.create_dataset("train")
    _say(f"Uploading {len(train)} images with one concept each")
    for concept in DIGITS:
        dataset.upload_from_folder(str(folder / "digits" / "train" / concept), input_type="image", labels=True)
    model = app.create_model("which-digit", model_type_id="visual-classifier")
    _say(f"Templates: {', '.join(model.list_training_templates())}")
    params = model.get_params(template=TEMPLATE, save_to=str(folder / "params.yaml"))
    _say(
        f"{TEMPLATE} has these defaults: "
        + ", ".join(f"{k}={v}" for k, v in params["train_params"].items() if v not in (None, ""))
    )
    model.update_params(dataset_id="train", concepts=list(DIGITS), num_epochs=NUM_EPOCHS)
    _say(f"Training {TEMPLATE} for {NUM_EPOCHS} epochs")
    version_id = model.train()
    _follow(model, version_id)
    return _report(model, kept_back)


def _quiet_the_client() -> None:
    """The client logs every answer and draws a bar per batch; here it would bury the story."""
    os.environ["TQDM_DISABLE"] = "1"
    import clarifai.utils.logging  # noqa: F401  it sets the level when it is imported

    logging.getLogger("clarifai").setLevel(logging.ERROR)


def _follow(model: Any, version_id: str) -> None:
    """One live line until the training ends. Raises LehrError with the server's reason when it failed."""
    from clarifai_grpc.grpc.api.status import status_code_pb2 as codes

    going_on = (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING)
    last = ""
    while True:
        status = model.training_status(version_id)
        bar = "#" * (status.percent_completed // 5)
        eta = f", {status.time_remaining} s left" if status.time_remaining else ""
        line = f"Training [{bar:<20}] {status.percent_completed:3d} %{eta}  {status.details or status.description}"
        if sys.stdout.isatty():
            print(f"\r{line:<110}", end="", flush=True)
        elif line != last:
            print(line, flush=True)
        last = line
        if status.code not in going_on:
            break
        time.sleep(0.5)
    if sys.stdout.isatty():
        print()
    if status.code != codes.MODEL_TRAINED:
        raise LehrError(f"training failed: {status.description} {status.details}")


def _report(model: Any, kept_back: Sequence[Path]) -> float:
    """Predicts the kept-back images in batches and prints the accuracy and who was taken for whom."""
    pairs: Counter[tuple[str, str]] = Counter()
    for start in range(0, len(kept_back), 128):
        batch = kept_back[start : start + 128]
        for path, said in zip(batch, _predict(model, batch), strict=True):
            pairs[path.parent.name, said] += 1
    right = sum(count for (true, said), count in pairs.items() if true == said)
    accuracy = right / len(kept_back)
    _say(f"\n{len(kept_back)} images the model never saw: {right} right, accuracy {accuracy:.4f}\n")
    _say(_table(pairs))
    return accuracy


def _predict(model: Any, paths: Sequence[Path]) -> list[str]:
    from clarifai.client.input import Inputs

    inputs = [Inputs.get_input_from_bytes(path.stem, image_bytes=path.read_bytes()) for path in paths]
    return [output.data.concepts[0].id for output in model.predict(inputs=inputs).outputs]


def _table(pairs: Counter[tuple[str, str]]) -> str:
    """Rows: what it was. Columns: what the model said."""
    short = [name.removeprefix("digit-") for name in DIGITS]
    lines = ["true \\ said" + "".join(f"{name:>5}" for name in short)]
    for true in DIGITS:
        cells = "".join(f"{pairs[true, said] or '.':>5}" for said in DIGITS)
        lines.append(f"{true.removeprefix('digit-'):>11}{cells}")
    return "\n".join(lines)


def _say_how_to_go_on(base: str, token: str, folder: Path, process: int) -> None:
    _say(
        f"""
The server goes on (process {process}; `kill {process}` ends it, `rm -r {folder}` removes everything). Try next:
  export CLARIFAI_API_BASE={base} CLARIFAI_USER_ID=lehr CLARIFAI_PAT={token}
  curl -H "Authorization: Key $CLARIFAI_PAT" {base}/v2/users/lehr/apps/digits/models
  lehr templates            # what else can be trained
  lehr train --template Lehr_Lite --data FOLDER_OF_CLASS_FOLDERS --out my-model   # your own images, no server"""
    )


def _say(text: str) -> None:
    print(text, flush=True)
