"""Small calls over both faces: p50 and p99 of each, one client, one connection. `python benchmarks/calls.py`

Goal: p50 under 3 ms. The peer is the same gRPC library answering an empty message in a server that does nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent import futures

import grpc
import httpx
from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc
from machine import described
from server import TOKEN, running

CALLS = 1000


def main() -> None:
    """Prints p50 and p99 of each call."""
    print(f"small calls, {CALLS} each, one after the other; {described()}")
    _print("bare gRPC echo", _bare())
    with running() as server:
        for name, call in _calls(server.base):
            _print(name, call)


def _calls(base: str) -> list[tuple[str, Callable[[], object]]]:
    host, port = base.removeprefix("http://").split(":")
    stub = service_pb2_grpc.V2Stub(ClarifaiChannel.get_insecure_grpc_channel(base=host, port=int(port)))
    key = (("authorization", f"Key {TOKEN}"),)
    who = resources_pb2.UserAppIDSet(user_id="lehr", app_id="bench")
    stub.PostApps(service_pb2.PostAppsRequest(user_app_id=who, apps=[resources_pb2.App(id="bench")]), metadata=key)
    session = httpx.Client(base_url=base, headers={"Authorization": f"Key {TOKEN}"})
    counter = iter(range(10**9))

    def concept() -> object:
        made = [resources_pb2.Concept(id=f"c{next(counter)}")]
        return stub.PostConcepts(service_pb2.PostConceptsRequest(user_app_id=who, concepts=made), metadata=key)

    return [
        ("gRPC GetApp", lambda: stub.GetApp(service_pb2.GetAppRequest(user_app_id=who), metadata=key)),
        ("gRPC ListInputs", lambda: stub.ListInputs(service_pb2.ListInputsRequest(user_app_id=who), metadata=key)),
        ("gRPC PostConcepts", concept),
        ("REST GetApp", lambda: session.get("/v2/users/lehr/apps/bench").json()),
        ("REST ListInputs", lambda: session.get("/v2/users/lehr/apps/bench/inputs").json()),
    ]


def _bare() -> Callable[[], object]:
    handler = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peer.Echo", {"Say": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    say = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary("/peer.Echo/Say")
    keep = server  # the server lives as long as the call does
    return lambda: (keep, say(b""))


def _print(name: str, call: Callable[[], object]) -> None:
    for _ in range(50):
        call()
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1000)
    cuts = statistics.quantiles(times, n=100)
    print(f"  {name:<18} p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms")


if __name__ == "__main__":
    main()
