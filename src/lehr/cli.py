"""The command line: parse, call, print. What a command does lives elsewhere."""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lehr.errors import InvalidRequest, LehrError
from lehr.settings import let_memory_grow, share_cores

if TYPE_CHECKING:
    from lehr.hyperparameters import Knob
    from lehr.settings import Settings
    from lehr.templates import Template

_FORMATS = ("coco", "yolo", "voc", "csv", "image-folder")
"""Of data sets on the disk: the names in lehr.imports.FORMATS, which is slow to load."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status. A refusal is one sentence on stderr, never a traceback."""
    options = _parser().parse_args(arguments)
    share_cores()
    let_memory_grow()
    try:
        return int(options.run(options) or 0)
    except LehrError as error:
        print(f"lehr: {error.details or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lehr", description="A self-hosted deep-training server.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_demo(commands)
    _add_templates(commands)
    _add_train(commands)
    _add_predict(commands)
    _add_import(commands)
    _add_backup(commands)
    _add_keys(commands)
    _add_doctor(commands)
    _add_children(commands)
    return parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser("serve", help="answer the API on one port", description="Everything, on one port.")
    _add_settings(serve)
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port (default 8080; 0: any free one)")
    serve.add_argument("--ray", metavar="ADDRESS", help="Ray cluster to run on (default: local processes)")
    serve.add_argument("--predictors", type=int, metavar="N", help="predictor processes (default 1)")
    serve.add_argument("--workers", type=int, metavar="N", help="worker processes (default 1; 0: none on this machine)")
    serve.add_argument("--tls-certificate", type=Path, metavar="PEM", help="speak TLS with this certificate chain")
    serve.add_argument("--tls-key", type=Path, metavar="PEM", help="its private key")
    serve.set_defaults(run=_serve)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", type=Path, help="folder of everything Lehr keeps (default ~/.lehr)")
    parser.add_argument("--database", metavar="URL", help="postgresql://… (default: SQLite in the home folder)")
    parser.add_argument(
        "--blobs", metavar="URL", help="s3://bucket/prefix, gs://…, az://… (default: files in the home folder)"
    )


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser("demo", help="train on handwritten digits through the public client")
    demo.add_argument("--keep", action="store_true", help="leave the server and its home running afterwards")
    demo.add_argument("--port", type=int, default=0, help="port (default: any free one)")
    demo.set_defaults(run=_demo)


def _add_templates(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    templates = commands.add_parser("templates", help="what can be trained, and with which hyperparameters")
    templates.add_argument("name", nargs="?", metavar="NAME", help="one template, with every hyperparameter")
    templates.set_defaults(run=_templates)


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    weights = commands.add_parser("weights", help="which pretrained weights are at hand, and which could be fetched")
    weights.add_argument("name", nargs="?", help="fetch these from the hub into the folder of weights")
    weights.add_argument("--weights", type=Path, help="the folder of weights (LEHR_WEIGHTS)")
    weights.set_defaults(run=_weights)

    train = commands.add_parser("train", help="train on a folder of labelled images, without a server")
    train.add_argument("--template", required=True, metavar="T", help="see `lehr templates`")
    train.add_argument("--model-type", default="visual-classifier", metavar="TYPE", help="default visual-classifier")
    train.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="DIR",
        help="one sub-folder of images per concept, or as `lehr import`",
    )
    train.add_argument("--format", choices=_FORMATS, default="", help="default: found out by what is in the folder")
    train.add_argument("--with-errors", action="store_true", help="train on what is good although something is not")
    train.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the trained model goes")
    train.add_argument("--weights", type=Path, metavar="DIR", help="folder of extra pretrained weights")
    train.add_argument(
        "parameters", nargs="*", metavar="NAME=VALUE", help="hyperparameters, for example num_epochs=5 batch_size=64"
    )
    train.set_defaults(run=_train)


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    predict = commands.add_parser(
        "predict", help="predict images and videos with a trained model folder, without a server"
    )
    predict.add_argument("model", type=Path, metavar="MODEL_DIR")
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    predict.add_argument("--top", type=int, default=5, metavar="N", help="concepts per image (default 5)")
    predict.add_argument("--sample-ms", type=int, default=1000, metavar="MS", help="between frames (default 1000)")
    predict.set_defaults(run=_predict)


def _add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    into = commands.add_parser(
        "import",
        help="bring a data set (COCO, YOLO, Pascal VOC, CSV, folders) into an app of a running server",
        description="The server and the key are those of CLARIFAI_API_BASE, CLARIFAI_USER_ID and CLARIFAI_PAT.",
    )
    into.add_argument("folder", type=Path, metavar="DIR")
    into.add_argument("--app", metavar="ID", default="", help="app to bring it into; made if it does not exist")
    into.add_argument("--dataset", metavar="ID", default="", help="dataset in it (default: called as the folder)")
    into.add_argument("--format", choices=_FORMATS, default="", help="default: found out by what is in the folder")
    into.add_argument("--dry-run", action="store_true", help="only report what is there and what is wrong with it")
    into.add_argument("--with-errors", action="store_true", help="import what is good although something is not")
    into.set_defaults(run=_import)


def _add_backup(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    backup = commands.add_parser("backup", help="write everything of a home into one file, while the server runs")
    restore = commands.add_parser("restore", help="make a home of such a file")
    for parser, run in ((backup, _backup), (restore, _restore)):
        _add_settings(parser)
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.set_defaults(run=run)


def _add_keys(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    keys = commands.add_parser("keys", help="list keys, or make a new personal access token")
    _add_settings(keys)
    keys.add_argument("--new", metavar="DESCRIPTION", help="make a personal access token and print it once")
    keys.add_argument("--delete", metavar="ID", help="delete the key with this id")
    keys.set_defaults(run=_keys)


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser("doctor", help="check this machine and this home, and say what to mend")
    _add_settings(doctor)
    doctor.set_defaults(run=_doctor)


def _add_children(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What `lehr serve` starts; settings come from the environment, as the parent set them."""
    worker = commands.add_parser("worker", help="claim and run jobs (started by `lehr serve`; more on other machines)")
    _add_settings(worker)
    worker.set_defaults(run=_worker)
    job = commands.add_parser("job", help="run one job (started by a worker)")
    job.add_argument("id")
    job.set_defaults(run=_job)
    probe = commands.add_parser("probe", description="Measure a few training steps (started by `lehr serve`).")
    probe.set_defaults(run=_probe)


def _serve(options: argparse.Namespace) -> int:
    gc.disable()  # what modules are made of stays: looking through it for garbage is a fifth of the start
    from lehr.compose import serve

    gc.freeze()
    gc.enable()
    return serve(_settings(options))


def _worker(options: argparse.Namespace) -> int:
    from lehr.compose import work

    return work(_settings(options))


def _job(options: argparse.Namespace) -> int:
    from lehr.compose import run_job

    return run_job(_settings(options), options.id)


def _probe(options: argparse.Namespace) -> int:
    from lehr.compose import probe

    print(probe(_settings(options), sys.stdin.read()))
    return 0


def _import(options: argparse.Namespace) -> int:
    from lehr.imports.run import Order, run

    return run(
        Order(
            folder=options.folder,
            app_id=options.app,
            dataset_id=options.dataset,
            format=options.format,
            is_dry=options.dry_run,
            with_errors=options.with_errors,
        )
    )


def _backup(options: argparse.Namespace) -> int:
    from lehr.compose import back_up

    print(back_up(_settings(options), options.file))
    return 0


def _restore(options: argparse.Namespace) -> int:
    from lehr.compose import restore

    print(restore(_settings(options), options.file))
    return 0


def _keys(options: argparse.Namespace) -> int:
    from lehr.compose import open_keys
    from lehr.protocol import resources_pb2
    from lehr.services.paging import paging
    from lehr.services.users import PERSONAL_ACCESS_TOKEN

    settings = _settings(options)
    keys = open_keys(settings)
    if options.new:
        wanted = resources_pb2.Key(type=PERSONAL_ACCESS_TOKEN, description=options.new, scopes=["All"])
        [made] = keys.create(settings.user_id, [wanted])
        print(f"{made.id}\nThis is the only time it is shown.")
    if options.delete:
        keys.delete(settings.user_id, options.delete)
        print(f"Deleted {options.delete}.")
    if not options.new and not options.delete:
        for key in keys.list_of(settings.user_id, paging(1, 1000)):
            print(f"{key.id}  {key.type:22}  {key.created_at.ToJsonString()}  {key.description}")
    return 0


def _train(options: argparse.Namespace) -> int:
    from lehr import templates
    from lehr.hyperparameters import parse
    from lehr.imports.training import items_in
    from lehr.learn.offline import FolderOrder, train_folder
    from lehr.settings import Settings

    template = templates.find(options.model_type, options.template)
    form, notices = parse(template.form, dict(_assignment(text) for text in options.parameters))
    for notice in notices:
        print(notice)
    settings = Settings.from_environment()
    with tempfile.TemporaryDirectory(prefix="lehr-packs-") as cache:
        order = FolderOrder(
            data=options.data,
            out=options.out,
            cache=Path(cache),
            weights=options.weights,
            precision=settings.precision,
            machine=settings.home / "cache",
            read=partial(items_in, format=options.format, with_errors=options.with_errors),
        )
        bundle = train_folder(template, form, order, show=_show)
    print(f"{bundle.folder}: try `lehr predict {bundle.folder} IMAGE…`")
    return 0


def _show(line: str) -> None:
    """A line that the next one overwrites; nothing where nobody watches."""
    if sys.stderr.isatty():
        print(f"\r{line:<100}", end="", file=sys.stderr, flush=True)


def _assignment(text: str) -> tuple[str, object]:
    """`num_epochs=5` as a name and a number, a truth value or a text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidRequest(f"{text!r} is no hyperparameter: write NAME=VALUE, for example num_epochs=5.")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    try:
        return name, float(value)
    except ValueError:
        return name, value


def _predict(options: argparse.Namespace) -> int:
    from lehr.learn.offline import Unreadable, predict_files

    bad = 0
    for result in predict_files(options.model, options.images, sample_ms=options.sample_ms):
        if isinstance(result, Unreadable):
            bad += 1
            print(f"{result.path}: {result.why}", file=sys.stderr)
        else:
            said = [f"{concept} {value:.4f}" for concept, value in result.concepts[: options.top]]
            for number, sides in enumerate(result.boxes[: options.top]):
                said[number] += " at " + ", ".join(f"{side:.3f}" for side in sides)
            when = "" if result.time_ms is None else f" at {result.time_ms / 1000:g} s"
            print(f"{result.path}{when}: {'  '.join(said) or 'nothing found'}")
    return 1 if bad else 0


def _templates(options: argparse.Namespace) -> int:
    from lehr import templates

    if options.name is None:
        for template in templates.CATALOGUE:
            print(f"{template.name}  ({template.model_type})\n    {template.description} {template.when}")
        return 0
    for template in templates.named(options.name):
        _print_template(template)
    return 0


def _print_template(template: Template) -> None:
    from lehr.hyperparameters import describe

    print(f"{template.name}  ({template.model_type})\n{template.description}\n{template.when}\n{template.measured}\n")
    for knob in describe(template.form):
        limits = [f"{what} {value:g}" for what, value in _limits(knob) if value is not None]
        choices = f" one of {', '.join(knob.options)}" if knob.options else ""
        print(f"  {knob.name} = {knob.default}  [{knob.kind}{choices}{' ' if limits else ''}{', '.join(limits)}]")
        print(f"      {knob.sentence}")


def _limits(knob: Knob) -> tuple[tuple[str, float | None], ...]:
    return ("from", knob.minimum), ("to", knob.maximum), ("step", knob.step)


def _weights(options: argparse.Namespace) -> int:
    from lehr import templates
    from lehr.learn.weights import is_published, keep, place_of

    folder = _settings(options).weights
    if options.name:
        if folder is None:
            raise InvalidRequest("There is no folder to keep weights in: set LEHR_WEIGHTS, or give --weights DIR.")
        print(keep(options.name, folder))
        return 0
    users: dict[str, list[str]] = {}
    for template in templates.CATALOGUE:
        users.setdefault(template.weights, []).append(f"{template.name or 'its only one'} ({template.model_type})")
    for name in sorted(filter(None, users)):
        way = (
            f"`lehr weights {name}` fetches them while online" if is_published(name) else "put the file there yourself"
        )
        print(f"{name}: {place_of(name, folder) or f'not here; {way}'}\n    {', '.join(users[name])}")
    print(f"From random weights: {', '.join(users.get('', []))}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from lehr.doctor import examine

    return examine(_settings(options))


def _settings(options: argparse.Namespace) -> Settings:
    from lehr.settings import Settings

    names = set(Settings.__dataclass_fields__)
    return Settings.from_environment(**{name: value for name, value in vars(options).items() if name in names})


def _demo(options: argparse.Namespace) -> int:
    from lehr.demo import run

    return run(keep=options.keep, port=options.port)
