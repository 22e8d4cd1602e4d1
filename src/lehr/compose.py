"""Settings in, every object out: the one place where parts meet. Nothing here decides anything."""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from lehr import templates
from lehr.api.base_workflows import BaseWorkflowRoutes
from lehr.api.calls import Caller
from lehr.api.door import Door
from lehr.api.files import Files
from lehr.api.front import Front
from lehr.api.grpc_face import GrpcFace
from lehr.api.rest_face import rest_app
from lehr.api.room import Room
from lehr.errors import InvalidRequest, LehrError, StoreUnusable
from lehr.hyperparameters import parse
from lehr.implementations import LEHR, Parts, Store, implementations
from lehr.jobs.crew import Crew
from lehr.jobs.launcher import LocalLauncher
from lehr.jobs.leash import step_back
from lehr.jobs.queue import Queue
from lehr.jobs.runs import Failed, Run
from lehr.jobs.worker import Kinds, Worker
from lehr.jobs.worker import run_job as run_claimed
from lehr.learn.data.packed import Packed
from lehr.learn.data.packs import Packs
from lehr.services import (
    built_in,
    bulk_operations,
    clustering,
    dataset_exports,
    dataset_health,
    dataset_metrics,
    evaluations,
    exports,
    extraction_states,
    indexing,
    ingest,
    training,
)
from lehr.services.apps import Apps
from lehr.services.built_in import BuiltIn
from lehr.services.built_in_bundles import BuiltInBundles
from lehr.services.bulk_running import BulkRunning
from lehr.services.bundles import Bundles
from lehr.services.clustering import Clustering
from lehr.services.dataset_exporting import ExportingDatasets
from lehr.services.dataset_exports import DatasetExports
from lehr.services.dataset_health import HealthChecks, HealthReports
from lehr.services.dataset_metrics import DatasetMetrics
from lehr.services.entry import Entry
from lehr.services.evaluating import Evaluating
from lehr.services.exporting import Exporting
from lehr.services.exports import Exports
from lehr.services.extracting import MAX_ARCHIVE_BYTES, Extracting
from lehr.services.housekeeping import Housekeeping
from lehr.services.indexing import Indexing, Watch
from lehr.services.ingest import Ingest
from lehr.services.keys import Keys
from lehr.services.media import HostedMedia
from lehr.services.probes import ProbeOrder
from lehr.services.reindex import BaseWorkflows
from lehr.services.sessions import Sessions
from lehr.services.signing import Signer
from lehr.services.storage import Storage
from lehr.services.training import Training
from lehr.services.users import Users
from lehr.serving.decoders import DecoderPool
from lehr.serving.fetch import Fetcher
from lehr.serving.occasional import Occasional
from lehr.serving.predictors import Predictors
from lehr.settings import Settings
from lehr.store import backup_file, secrets
from lehr.store.blobs import open_blobs
from lehr.store.db import BUSY_SECONDS, Database
from lehr.web.client import Beside
from lehr.web.site import Site

BESIDE = frozenset({built_in.KIND, clustering.KIND, exports.KIND, dataset_exports.KIND})
"""Launched kinds of job that take minutes at most, and do not wait behind a training."""

DECODERS = max(2, (os.cpu_count() or 2) - 2)
"""Of a worker; each is started when it is needed. A fast network needs many to keep it busy."""
JOB_BUSY_SECONDS = 600.0
"""A launched job waits so long for its turn to write: nobody waits for its answer, and hours may hang on it."""
WORKER_NICENESS = 10
"""Taking in and indexing yield to the control plane; trainings and the index's predictor yield further."""


def open_store(settings: Settings, *, busy_seconds: float = BUSY_SECONDS) -> Store:
    """Opens the store, made or migrated if need be; for `busy_seconds` see `Database`."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreUnusable(f"the home folder {settings.home} cannot be used: {error.strerror}") from error
    db = Database(settings.database_url, busy_seconds=busy_seconds)
    db.upgrade()
    blobs = open_blobs(settings.blobs, settings.home)
    queue = Queue(db)
    prepare = BuiltIn(db=db, queue=queue).prepare
    bundles = Bundles(db=db, blobs=blobs, cache=settings.home / "cache" / "bundles", prepare=prepare)
    return Store(db=db, blobs=blobs, queue=queue, bundles=bundles)


# -- the control plane -------------------------------------------------------------------------------------------------


def serve(settings: Settings) -> int:
    """`lehr serve`: everything, until SIGTERM or Ctrl-C."""
    if settings.ray:
        raise LehrError(f"--ray {settings.ray} is not offered yet; leave it out to run on this machine.")
    if settings.predictors < 1 or settings.workers < 0:
        raise InvalidRequest(
            f"--predictors is 1 or more and --workers 0 or more; given {settings.predictors} and {settings.workers}."
        )
    store = open_store(settings)
    BuiltIn(db=store.db, queue=store.queue).ensure()
    predictors = Predictors(settings.predictors)
    crew = Crew([*LEHR, "worker"], settings.workers, {**os.environ, **settings.to_environment()})
    decoders = DecoderPool(2)
    with tempfile.TemporaryDirectory(prefix="lehr-") as sockets:
        door, files = _door(settings, store, predictors, crew, decoders)
        room, socket = Room(), Path(sockets) / "grpc"
        bases = BaseWorkflows(db=store.db, queue=store.queue)
        routes = [*files.routes(), *BaseWorkflowRoutes(door=door, bases=bases).routes()]
        app = rest_app(door=door, routes=routes, room=room)
        beside = Beside(
            health=HealthReports(db=store.db, queue=store.queue),
            bases=bases,
            storage=Storage(db=store.db, blobs=store.blobs),
        )
        site = Site(door=door, sessions=Sessions(db=store.db), beside=beside, api=app)
        front = _front(settings, site, socket)
        # Only now that the port is ours: the token is shown once, and a start that fails shows nothing.
        token = Users(db=store.db).welcome(settings.user_id, settings.pat)
        here = settings.at_port(front.port)
        grpc = GrpcFace(door=door, socket=socket, base_url=here.base_url, room=room)
        grpc.start()
        grpc.serving(ready=True)

        def when_ready() -> None:  # the API first: its children would compete with it for the processor
            _greet(here, token)
            predictors.start()
            crew.start()

        try:
            front.run(when_ready=when_ready, when_stopping=grpc.stop)
        finally:
            crew.close()
            predictors.close()
            decoders.close()
            store.db.close()
    return 0


def _door(
    settings: Settings, store: Store, predictors: Predictors, crew: Crew, decoders: DecoderPool
) -> tuple[Door, Files]:
    with store.db.write() as tx:
        signer = Signer(secret=secrets.shared(tx, "signing"))
    sessions = Sessions(db=store.db)
    entry = Entry(db=store.db, apps=Apps(db=store.db, queue=store.queue))
    door = Door(
        authenticate=lambda token: _caller(sessions, token),
        enter=lambda rpc, caller, user_id, app, request: entry.admit(rpc, caller.user_id, user_id, app, request),
        implementations=implementations(
            Parts(settings=settings, store=store, predictors=predictors, decoders=decoders, signer=signer)
        ),
    )
    files = Files(
        db=store.db,
        blobs=store.blobs,
        media=HostedMedia(db=store.db),
        signer=signer,
        identify=sessions.identify,
        exports=Exports(db=store.db, queue=store.queue),
        dataset_exports=DatasetExports(db=store.db, queue=store.queue),
        metrics=door.meter.registry,
        parts=lambda: {"store": store.db.answers(), "predictor": predictors.ready(), "worker": crew.ready()},
    )
    return door, files


def _front(settings: Settings, app: Site, grpc_socket: Path) -> Front:
    certificate, key = settings.tls_certificate, settings.tls_key
    if (certificate is None) != (key is None):
        raise InvalidRequest("TLS needs both --tls-certificate and --tls-key.")
    return Front(
        host=settings.host,
        port=settings.port,
        app=app,
        grpc_socket=grpc_socket,
        tls=(certificate, key) if certificate and key else None,
    )


def _caller(sessions: Sessions, token: str) -> Caller:
    found = sessions.identify(token)
    scopes = frozenset([*found.key.scopes, *found.key.endpoints])
    return Caller(user_id=found.user_id, key_id=found.key.id, app=found.app, scopes=scopes)


def _greet(settings: Settings, token: str | None) -> None:
    shown = token or "…  (yours, or the one shown at first start; `lehr keys --new NAME` makes another)"
    print(f"Lehr is ready at {settings.base_url}")
    print(f"  export CLARIFAI_API_BASE={settings.base_url}")
    print(f"  export CLARIFAI_USER_ID={settings.user_id}")
    print(f"  export CLARIFAI_PAT={shown}", flush=True)


# -- workers and jobs --------------------------------------------------------------------------------------------------


def work(settings: Settings) -> int:
    """`lehr worker`: claims jobs until SIGTERM. It and all that it starts stand behind whoever answers people."""
    step_back(WORKER_NICENESS)
    store = open_store(settings)
    Housekeeping(db=store.db, blobs=store.blobs, queue=store.queue).start()
    with DecoderPool(DECODERS) as decoders:
        small = Ingest(
            db=store.db,
            blobs=store.blobs,
            queue=store.queue,
            decoders=decoders,
            fetcher=Fetcher(allow=settings.fetch_allow),
        )
        moves, moves_failed = _moving(settings, store)
        index = _indexing(settings, store, decoders)
        health = HealthChecks(db=store.db, blobs=store.blobs, queue=store.queue, decoders=decoders)
        runs, failed = _launched(settings, store, decoders)
        kinds = Kinds(
            in_process={ingest.KIND: small.run, dataset_health.KIND: health.run, indexing.KIND: index.run, **moves},
            launched=frozenset(runs) - BESIDE,
            beside=frozenset(runs) & BESIDE,
            failed={
                ingest.KIND: small.failed,
                indexing.KIND: index.failed,
                **moves_failed,
                **failed,
            },
        )
        Watch(db=store.db, queue=store.queue).start()
        Worker(store.queue, kinds, LocalLauncher([*LEHR, "job"]), threads=3).run()
    return 0


def _moving(settings: Settings, store: Store) -> tuple[dict[str, Run], dict[str, Failed]]:
    """The kinds of job that bring data in or go through much of it."""
    fetcher = Fetcher(allow=settings.fetch_allow, max_bytes=MAX_ARCHIVE_BYTES, total_seconds=3600.0)
    unpack = Extracting(db=store.db, blobs=store.blobs, queue=store.queue, fetcher=fetcher)
    metrics = DatasetMetrics(db=store.db, queue=store.queue)
    bulk = BulkRunning(db=store.db, queue=store.queue)
    return (
        {extraction_states.KIND: unpack.run, dataset_metrics.KIND: metrics.run, bulk_operations.KIND: bulk.run},
        {extraction_states.KIND: unpack.failed, bulk_operations.KIND: bulk.failed},
    )


def _indexing(settings: Settings, store: Store, decoders: DecoderPool) -> Indexing:
    return Indexing(
        db=store.db,
        blobs=store.blobs,
        queue=store.queue,
        bundles=store.bundles,
        decoders=decoders,
        predictor=Occasional(lambda: Predictors(1, nice=9, loader="lehr.learn.predictor:Predictor.load_for_much")),
        packed=Packed(packs=Packs(settings.home / "cache" / "packs")),
        parallel_decodes=DECODERS + 1,
    )


def run_job(settings: Settings, job_id: str) -> int:
    """`lehr job ID`: runs one claimed job."""
    store = open_store(settings, busy_seconds=JOB_BUSY_SECONDS)
    with DecoderPool(2) as decoders:
        return 0 if run_claimed(store.queue, job_id, *_launched(settings, store, decoders)) else 1


def _launched(settings: Settings, store: Store, decoders: DecoderPool) -> tuple[dict[str, Run], dict[str, Failed]]:
    """The kinds of job that run in processes of their own: how each runs, and what is written when it fails."""
    trainer = _training(settings, store, decoders)
    evaluator = Evaluating(db=store.db, blobs=store.blobs, queue=store.queue, bundles=store.bundles, decoders=decoders)
    exporter = Exporting(db=store.db, blobs=store.blobs, queue=store.queue, bundles=store.bundles, decoders=decoders)
    datasets = ExportingDatasets(db=store.db, blobs=store.blobs, queue=store.queue)
    clusters = Clustering(db=store.db, queue=store.queue, bundles=store.bundles)
    base = BuiltInBundles(db=store.db, queue=store.queue, bundles=store.bundles)
    return (
        {
            training.KIND: trainer.run,
            evaluations.KIND: evaluator.run,
            exports.KIND: exporter.run,
            dataset_exports.KIND: datasets.run,
            built_in.KIND: base.run,
            clustering.KIND: clusters.run,
        },
        {
            training.KIND: trainer.failed,
            evaluations.KIND: evaluator.failed,
            exports.KIND: exporter.failed,
            dataset_exports.KIND: datasets.failed,
            clustering.KIND: clusters.failed,
        },
    )


def _training(settings: Settings, store: Store, decoders: DecoderPool) -> Training:
    return Training(
        db=store.db,
        blobs=store.blobs,
        queue=store.queue,
        bundles=store.bundles,
        decoders=decoders,
        packs=settings.home / "cache" / "packs",
        weights=settings.weights,
        precision=settings.precision,
    )


def probe(settings: Settings, asked: str) -> str:
    """`lehr probe`: measures what an order (JSON) asks for; answers in JSON with the pace, or with why not."""
    from lehr.learn.device import choose_device
    from lehr.learn.gpu_turns import measuring_on
    from lehr.learn.precision import Precision
    from lehr.learn.probe import Bench, measure

    began, order = time.perf_counter(), ProbeOrder.from_json(asked)
    template = templates.find(order.model_type, order.template)
    form = parse(template.form, order.params).form
    base, earlier = (Path(folder) if folder else None for folder in (order.base, order.earlier))
    cache, device = settings.home / "cache", choose_device()
    precision = Precision(choice=settings.precision, folder=cache / "precision")

    bench = Bench(
        order=template.data_order(form, order.concepts, base=base),
        make_recipe=lambda data: precision.foreseen(
            template.recipe(form, replace(data.problem(device, settings.weights), base=base, earlier=earlier))
        ),
        num_items=order.num_items,
        seconds=order.seconds,
    )
    try:
        with measuring_on(device, cache / "gpus"):
            pace = measure(bench)
    except LehrError as error:
        refused = {"code": error.code, "http_status": error.http_status, "details": error.details}
        return json.dumps({"refused": refused})
    return json.dumps({"pace": pace.to_json(), "seconds": time.perf_counter() - began})


# -- small commands ----------------------------------------------------------------------------------------------------


def open_keys(settings: Settings) -> Keys:
    """The keys of a store, for `lehr keys`. The first user is made if need be."""
    store = open_store(settings)
    Users(db=store.db).ensure(settings.user_id)
    return Keys(db=store.db)


def back_up(settings: Settings, target: Path) -> str:
    """`lehr backup FILE`: what was written, in a sentence."""
    store = open_store(settings)
    done = backup_file.write(store.db, store.blobs, target)
    gone = f"; {done.num_gone} that were deleted meanwhile are not in it" if done.num_gone else ""
    return f"{target}: all rows, and {done.num_blobs:,} blobs of {done.num_bytes:,} bytes{gone}."


def restore(settings: Settings, source: Path) -> str:
    """`lehr restore FILE`: what there is now, in a sentence."""
    if settings.database:
        raise StoreUnusable("rows are restored into SQLite in the home folder: leave out --database and LEHR_DATABASE.")
    rows = settings.home / "lehr.db"
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    done = backup_file.restore(source, rows, open_blobs(settings.blobs, settings.home))
    open_store(settings).db.close()  # an older schema is brought up to date now
    return f"{settings.home}: all rows, and {done.num_blobs:,} blobs of {done.num_bytes:,} bytes. `lehr serve` goes on."
