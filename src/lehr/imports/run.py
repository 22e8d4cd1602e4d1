"""`lehr import`: what is in a folder, what is odd about it, and then into an app, with a bar that says how long."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lehr.errors import InvalidRequest
from lehr.imports import format_of
from lehr.imports.findings import Findings
from lehr.imports.picture import Picture
from lehr.services.archive_inputs import id_from

NUM_LABELS_SHOWN = 12
NUM_FAILURES_SHOWN = 10
PER_CLASS_DOUBT = 2
"""Labels with fewer pictures than this are told: a typing error looks like that."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the command line asked for."""

    folder: Path
    app_id: str = ""
    dataset_id: str = ""
    format: str = ""
    is_dry: bool = False
    with_errors: bool = False
    """Whether to go on although something would be lost."""


def run(order: Order) -> int:
    """Reads, reports, and unless it is a dry run sends; the exit status. Raises InvalidRequest."""
    format_ = format_of(order.folder, order.format)
    findings = Findings()
    pictures = format_.read(order.folder, findings)
    _check_ids(pictures, findings)
    _report(order, format_.name, pictures, findings)
    if not pictures:
        raise InvalidRequest(f"{order.folder} has no picture that could be imported.")
    if findings.has_errors and not order.with_errors:
        print("Nothing was sent. Mend what is marked `!`, or give --with-errors to import the rest.")
        return 1
    if order.is_dry:
        print("A dry run: nothing was sent.")
        return 0
    if not order.app_id:
        raise InvalidRequest("--app is missing: the app that the pictures go into; it is made if it does not exist.")
    return _send(order, pictures)


def _check_ids(pictures: Sequence[Picture], findings: Findings) -> None:
    """Two names that lead to one id would make one input of two pictures."""
    names: dict[str, str] = {}
    for picture in pictures:
        other = names.setdefault(id_from(picture.name), picture.name)
        if other != picture.name:
            findings.error("pictures would have the id of another one; rename them", f"{picture.name} and {other}")


def _report(order: Order, name: str, pictures: Sequence[Picture], findings: Findings) -> None:
    splits = Counter(picture.split for picture in pictures if picture.split)
    told = ", ".join(f"{number:,} {split}" for split, number in splits.items())
    print(f"{order.folder}: {name}, {len(pictures):,} pictures{f' ({told})' if told else ''}")
    labels = Counter(label for picture in pictures for label in set(picture.labels))
    boxes = Counter(shape.label for picture in pictures for shape in picture.shapes)
    num_outlines = sum(bool(shape.outline) for picture in pictures for shape in picture.shapes)
    _print_counts("labels of whole pictures", labels)
    _print_counts(f"boxes ({num_outlines:,} with outlines)" if num_outlines else "boxes", boxes)
    for label, number in (labels + boxes).items():
        if number < PER_CLASS_DOUBT:
            findings.notice("labels occur only once; is one of them a typing error?", label)
    for kind in findings:
        print(f"  {'!' if kind.is_error else '-'} {kind}")


def _print_counts(what: str, counts: Counter[str]) -> None:
    if not counts:
        return
    shown = ", ".join(f"{label} {number:,}" for label, number in counts.most_common(NUM_LABELS_SHOWN))
    more = f", and {len(counts) - NUM_LABELS_SHOWN} more" if len(counts) > NUM_LABELS_SHOWN else ""
    print(f"  {counts.total():,} {what} of {len(counts)} kinds: {shown}{more}")


def _send(order: Order, pictures: Sequence[Picture]) -> int:
    from tqdm import tqdm

    from lehr.imports.account import Account
    from lehr.imports.sending import Sending

    account = Account.from_environment(order.app_id)
    dataset_id = order.dataset_id or _dataset_id(order.folder)
    if account.ensure_app():
        print(f"Made the app {order.app_id!r}.")
    if account.ensure_dataset(dataset_id):
        print(f"Made the dataset {dataset_id!r}.")
    sending = Sending(account=account, dataset_id=dataset_id)
    with tqdm(total=len(pictures), unit=" pictures", desc="Sending") as bar:
        sent = sending.send(pictures, bar.update)
    bad = list(sent.failed)
    if sent.new:
        with tqdm(total=sent.new + sent.present + len(bad), unit=" pictures", desc="Processing") as bar:
            if sending.processed(bar.update) > sent.present + len(bad):
                bad += sending.unusable(pictures)
    print(f"{sent.new:,} pictures are new in {order.app_id}/{dataset_id}, {sent.present:,} were there already.")
    for line in bad[:NUM_FAILURES_SHOWN]:
        print(f"  ! {line}")
    if len(bad) > NUM_FAILURES_SHOWN:
        print(f"  ! and {len(bad) - NUM_FAILURES_SHOWN:,} more")
    return 1 if bad else 0


def _dataset_id(folder: Path) -> str:
    return re.sub(r"[^-_.0-9A-Za-z]+", "-", folder.resolve().name).strip("-_.")[:48] or "imported"
