"""What is fetched by plain HTTP: health, the training log while it runs, hosted images.

Files are served by id with a fixed type, `nosniff`, and never as a page: no user text becomes HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from lehr.api.ranged import ranged
from lehr.errors import LehrError, MissingScope, NotFound
from lehr.protocol.ids import AppRef
from lehr.protocol.rpcs import RPCS, missing_scopes
from lehr.services.dataset_exports import DatasetExports, format_called
from lehr.services.entry import may_look
from lehr.services.exports import Exports
from lehr.services.media import HostedMedia
from lehr.services.signing import Signer
from lehr.store import logs as log_rows
from lehr.store.blobs import Blobs
from lehr.store.dataset_exports import ExportRef
from lehr.store.db import Database
from lehr.store.keys import FoundKey
from lehr.store.versions import ModelVersionRef

MAX_LOG_LINES = 100_000
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, kw_only=True)
class Files:
    """Needs the store, the signer, the keys and what tells whether each part is ready."""

    db: Database
    media: HostedMedia
    blobs: Blobs
    signer: Signer
    identify: Callable[[str], FoundKey]
    """From a key's secret to whose it is. Raises KeyInvalid."""
    exports: Exports
    dataset_exports: DatasetExports
    parts: Callable[[], dict[str, bool]]
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    """What is told of the calls, beside what is told of the process."""

    def routes(self) -> Sequence[BaseRoute]:
        """The routes beside the API."""
        return (
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
            Route("/logs/users/{user}/apps/{app}/models/{model}/versions/{version}", self._log),
            Route("/exports/users/{user}/apps/{app}/datasets/{dataset}/versions/{version}/{format}.zip", self._dataset),
            Route("/exports/users/{user}/apps/{app}/models/{model}/versions/{version}.zip", self._export),
            Route("/hosted/{size}/users/{user}/apps/{app}/inputs/{kind}/{sha}", self._image),
        )

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def _readyz(self, _: Request) -> Response:
        parts = await run_in_threadpool(self.parts)
        return JSONResponse(parts, status_code=200 if all(parts.values()) else 503)

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest() + generate_latest(self.metrics), media_type=CONTENT_TYPE_LATEST)

    async def _log(self, request: Request) -> Response:
        return await run_in_threadpool(_answered, self._read_log, request)

    async def _dataset(self, request: Request) -> Response:
        return await run_in_threadpool(_answered, self._read_dataset, request)

    async def _export(self, request: Request) -> Response:
        return await run_in_threadpool(_answered, self._read_export, request)

    async def _image(self, request: Request) -> Response:
        return await run_in_threadpool(_answered, self._read_image, request)

    def _read_log(self, request: Request) -> Response:
        self.signer.check(request.url.path, request.url.query)
        path = request.path_params
        vref = ModelVersionRef(AppRef(path["user"], path["app"]), path["model"], path["version"])
        with self.db.read() as tx:
            text = "".join(
                f"{line.at.ToJsonString()}  {line.text}\n" for line in log_rows.read(tx, vref, limit=MAX_LOG_LINES)
            )
        return PlainTextResponse(text, headers={**SAFE_HEADERS, "Cache-Control": "no-store"})

    def _read_dataset(self, request: Request) -> Response:
        self.signer.check(request.url.path, request.url.query)
        path = request.path_params
        ref = ExportRef(
            app=AppRef(path["user"], path["app"]),
            dataset_id=path["dataset"],
            version_id=path["version"],
            format=format_called(path["format"]),
        )
        sha, name = self.dataset_exports.sha(ref), f"{ref.dataset_id}-{path['format']}.zip"
        told = {"Content-Type": "application/zip", "Content-Disposition": f'attachment; filename="{name}"'}
        return ranged(request, self.blobs.open(sha), tag=sha, headers={**SAFE_HEADERS, **told})

    def _read_export(self, request: Request) -> Response:
        self.signer.check(request.url.path, request.url.query)
        path = request.path_params
        sha = self.exports.sha(ModelVersionRef(AppRef(path["user"], path["app"]), path["model"], path["version"]))
        told = {"Content-Type": "application/zip", "Content-Disposition": f'attachment; filename="{path["model"]}.zip"'}
        return ranged(request, self.blobs.open(sha), tag=sha, headers={**SAFE_HEADERS, **told})

    def _read_image(self, request: Request) -> Response:
        path = request.path_params
        ref = AppRef(path["user"], path["app"])
        found = self.identify(request.headers.get("authorization", "").rpartition(" ")[2])
        with self.db.read() as tx:
            is_let_in = may_look(tx, "GetInput", found.user_id, ref)
        if not is_let_in or found.app not in (None, ref):
            raise NotFound(f"There is no image {path['sha']!r}.")
        if missing_scopes(RPCS["GetInput"], [*found.key.scopes, *found.key.endpoints]):
            raise MissingScope("An input's image needs the scopes of GetInput, which this key lacks.")
        hosted = self.media.find(ref, path["sha"], path["size"])
        told = {**SAFE_HEADERS, "Cache-Control": "private, max-age=31536000, immutable"}
        if path["kind"] == "video":  # players seek by asking for parts
            told["Content-Type"] = hosted.content_type
            return ranged(request, self.blobs.open(hosted.sha), tag=hosted.sha, headers=told)
        return Response(self.blobs.read(hosted.sha), media_type=hosted.content_type, headers=told)


def _answered(read: Callable[[Request], Response], request: Request) -> Response:
    """Refusals as one sentence of plain text with the HTTP status of their code."""
    try:
        return read(request)
    except LehrError as error:
        return PlainTextResponse(error.details, status_code=error.http_status, headers=SAFE_HEADERS)
