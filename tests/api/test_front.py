"""The one port: who gets which connection, and what happens when clients are slow, silent, many or large."""

import base64
import json
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest

from lehr.api.front import Front, Patience
from lehr.api.grpc_face import GrpcFace
from lehr.api.room import Room
from lehr.errors import CannotListen
from lehr.protocol import resources_pb2, service_pb2

MIB = 1 << 20
GIB = 1 << 30


def picture(size, ident="i"):
    image = resources_pb2.Image(base64=bytes(size))
    return resources_pb2.Input(id=ident, data=resources_pb2.Data(image=image))


def connected(server):
    return socket.create_connection(("127.0.0.1", server.front.port), timeout=20)


@pytest.fixture
def running(kit, tmp_path):
    started = []

    def start(**options):
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(kit.Server(folder, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def test_a_port_in_use_is_told_in_a_sentence(shared, tmp_path):
    with pytest.raises(CannotListen, match="is in use by another program; stop that one, or choose another port"):
        Front(host="127.0.0.1", port=shared.server.front.port, app=None, grpc_socket=tmp_path / "s")
    with pytest.raises(CannotListen, match="cannot listen on no-such-host"):
        Front(host="no-such-host.invalid", port=0, app=None, grpc_socket=tmp_path / "s")
    with pytest.raises(CannotListen, match="longer than 100"):
        GrpcFace(door=shared.server.door, socket=tmp_path / ("s" * 100), base_url="http://x")


@pytest.mark.parametrize("pieces", [1, 2, 7, 24])
def test_the_preface_is_known_however_it_is_cut(shared, pieces):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    step = -(-len(preface) // pieces)
    with connected(shared.server) as client:
        for start in range(0, len(preface), step):
            client.sendall(preface[start : start + step])
            time.sleep(0.002)
        client.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")  # empty SETTINGS
        header = client.recv(9)
    assert header[3] == 4, "the gRPC server answers with its SETTINGS"


@pytest.mark.parametrize("first", [b"G", b"PATCH /v2/models HT", b"PRI * HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_what_only_begins_like_a_preface_is_http(shared, first):
    with connected(shared.server) as client:
        client.sendall(first)
        time.sleep(0.02)
        client.sendall(b"\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 400"


def test_a_client_that_says_nothing_or_half_a_request_is_dropped(running):
    server = running(patience=Patience(idle_seconds=0.2))
    for said in (b"", b"PRI", b"\r\n", b"GET / HTTP/1.1\r\nHost:"):
        with connected(server) as client:
            client.sendall(said)
            try:
                assert client.recv(1) == b""
            except ConnectionResetError:
                pass


def test_a_batch_of_128_pictures_goes_through_both_faces(shared):
    batch = service_pb2.PostInputsRequest(inputs=[picture(100_000, str(n)) for n in range(128)])
    assert len(shared.stub.PostInputs(batch).inputs) == 128
    encoded = base64.b64encode(bytes(100_000)).decode()
    body = {"inputs": [{"id": str(n), "data": {"image": {"base64": encoded}}} for n in range(128)]}
    assert [i["id"] for i in shared.http.post("/v2/inputs", json=body).json()["inputs"]][5] == "5-100000"


def uploads(kit, server, number, size):
    """As many uploads at once, each over a connection of its own; the sizes that arrived."""

    def upload(n):
        options = [*kit.LIMITS, ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(server.address, options=options) as channel:
            request = service_pb2.PostInputsRequest(inputs=[picture(size, str(n))])
            return kit.Stub(channel).PostInputs(request, timeout=500).inputs[0].id

    with ThreadPoolExecutor(number) as threads:
        return sorted(threads.map(upload, range(number)))


def test_eight_large_uploads_at_once_share_little_room(kit, running):
    server = running(room=Room(100 * MIB))
    assert uploads(kit, server, 8, 64 * MIB) == [f"{n}-{64 * MIB}" for n in range(8)]
    assert server.room.held == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_upload_of_nearly_1_gib_arrives(kit, running):
    size = 1024 * MIB - 1000
    assert uploads(kit, running(), 1, size) == [f"0-{size}"]


def body_in_pieces(size):
    """A JSON request of a little more than `size` bytes, made on the way."""
    yield b'{"inputs":[{"id":"x","data":{"image":{"base64":"'
    for _ in range(size // MIB):
        yield b"A" * MIB
    yield b'"}}}]}'


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_bodies_of_1_gib_at_once_are_read_one_after_the_other(running):
    server = running(room=Room(3 * GIB // 2, wait_seconds=800))
    length = sum(len(piece) for piece in body_in_pieces(GIB))

    def post(_):
        headers = {"authorization": "Key pat", "content-length": str(length)}
        answer = httpx.post(f"{server.url}/v2/inputs", content=body_in_pieces(GIB), headers=headers, timeout=850)
        return answer.json()["inputs"][0]["id"]

    server.nouns.keeps = False
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(post, range(8))) == {f"x-{GIB * 3 // 4}"}
    assert server.room.held == 0


def test_large_rest_bodies_share_little_room(running):
    server = running(room=Room(50 * MIB))
    body = b'{"inputs":[{"id":"x","data":{"image":{"base64":"' + base64.b64encode(bytes(30 * MIB)) + b'"}}}]}'

    def post(_):
        answer = httpx.post(f"{server.url}/v2/inputs", content=body, headers={"authorization": "Key pat"}, timeout=60)
        return answer.json()["inputs"][0]["id"]

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(post, range(4))) == {f"x-{30 * MIB}"}
    assert server.room.held == 0


def test_when_no_room_is_found_in_time_both_faces_say_so_in_band(kit, running):
    server = running(room=Room(MIB, wait_seconds=0.1))
    with server.room.taken(10), grpc.insecure_channel(server.address, options=kit.LIMITS) as channel:
        over_grpc = kit.Stub(channel).PostInputs(service_pb2.PostInputsRequest(inputs=[picture(MIB)])).status
        answer = httpx.post(f"{server.url}/v2/inputs", content=bytes(MIB), headers={"authorization": "Key pat"})
    over_rest = answer.json()["status"]
    assert over_grpc.code == over_rest["code"] == 40030
    assert "has no room for 1 MiB more" in over_rest["details"]
    assert answer.status_code == 503


def test_a_body_that_announces_too_much_is_refused_before_it_is_read(shared):
    with connected(shared.server) as client:
        client.sendall(
            b"POST /v2/inputs HTTP/1.1\r\nHost: x\r\nAuthorization: Key pat\r\nContent-Length: 99999999999\r\n\r\n"
        )
        answer = b"".join(iter(lambda: client.recv(100_000), b""))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":40033' in answer


def test_a_client_that_leaves_in_the_middle_of_a_body_gives_its_room_back(shared):
    with connected(shared.server) as client:
        client.sendall(
            b"POST /v2/inputs HTTP/1.1\r\nHost: x\r\nAuthorization: Key pat\r\nContent-Length: 1000000\r\n\r\n"
            + bytes(9999)
        )
        wait_until(lambda: shared.server.room.held == 1_000_000)
    wait_until(lambda: shared.server.room.held == 0)


def test_heads_without_end_are_cut_off(shared):
    with connected(shared.server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        with pytest.raises(OSError):  # noqa: PT012  the server hangs up at some point
            for _ in range(1000):
                client.sendall(b"x" * 100_000)
            assert client.recv(1) == b"", "everything was taken"


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def request_for(size):
    return f"GET /v2/inputs/{size} HTTP/1.1\r\nHost: x\r\nAuthorization: Key pat\r\n\r\n".encode()


def test_a_slow_reader_gets_everything_and_holds_up_nobody(shared):
    with connected(shared.server) as slow:
        slow.sendall(request_for(20 * MIB))
        head = slow.recv(1000)
        assert shared.http.get("/v2/models/quick").json()["model"]["id"] == "quick"
        received = bytearray(head)
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(received) < length + head.index(b"\r\n\r\n") + 4:
            received += slow.recv(MIB)
    answer = json.loads(received[received.index(b"\r\n\r\n") + 4 :])
    assert len(answer["input"]["data"]["image"]["base64"]) == 4 * -(-20 * MIB // 3)


def test_a_slow_grpc_reader_is_served_at_its_own_pace(kit, shared):
    answer = shared.stub.GetInput(service_pb2.GetInputRequest(input_id=str(80 * MIB)))
    assert len(answer.input.data.image.base64) == 80 * MIB


def test_a_reader_that_takes_nothing_is_dropped(running):
    server = running(patience=Patience(stalled_seconds=0, look_seconds=0))
    with connected(server) as client:
        client.sendall(request_for(50 * MIB))
        connections = server.front.connections
        wait_until(lambda: any(c.transport.get_write_buffer_size() for c in list(connections)))
        wait_until(lambda: not connections)


@pytest.mark.parametrize("face", ["rest", "grpc"])
def test_a_call_under_way_is_finished_when_the_server_stops(kit, tmp_path, face):
    server = kit.Server(tmp_path)
    began, goes_on = threading.Event(), threading.Event()

    def slow(call, request):
        began.set()
        goes_on.wait(20)
        return service_pb2.SingleModelResponse(model=resources_pb2.Model(id="finished"))

    server.door._implementations["GetModel"] = slow

    def ask():
        if face == "rest":
            return httpx.get(f"{server.url}/v2/models/m", headers={"authorization": "Key pat"}, timeout=20).text
        with grpc.insecure_channel(server.address) as channel:
            return str(kit.Stub(channel).GetModel(service_pb2.GetModelRequest(model_id="m")))

    with ThreadPoolExecutor() as threads:
        answer = threads.submit(ask)
        began.wait(20)
        stopping = threads.submit(server.front.stop)
        wait_until(lambda: refuses_connections(server))
        goes_on.set()
        assert "finished" in answer.result()
        stopping.result(20)


def refuses_connections(server):
    try:
        connected(server).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_grpc_client_finds_the_server_again_after_a_restart_of_the_grpc_side(kit, running):
    server = running()
    with grpc.insecure_channel(server.address, options=kit.LIMITS) as channel:
        stub = kit.Stub(channel)
        ask = service_pb2.GetModelRequest(model_id="m")
        assert stub.GetModel(ask).model.id == "m"
        server.grpc.stop(0)
        with pytest.raises(grpc.RpcError) as away:
            stub.GetModel(ask)
        assert away.value.code() is grpc.StatusCode.UNAVAILABLE
        server.grpc = GrpcFace(door=server.door, socket=server.grpc.socket, base_url=server.url)
        server.grpc.start()
        assert stub.GetModel(ask, wait_for_ready=True).model.id == "m"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*command, "-keyout", key, "-out", chain, "-days", "1", *subject], check=True, capture_output=True)
    return chain, key


def test_both_faces_over_tls(kit, running, certificate):
    server = running(tls=certificate)
    chain = certificate[0].read_bytes()
    with grpc.secure_channel(server.address, grpc.ssl_channel_credentials(chain), options=kit.LIMITS) as channel:
        stub = kit.Stub(channel)
        assert stub.GetModel(service_pb2.GetModelRequest(model_id="m")).model.id == "m"
        assert len(stub.PostInputs(service_pb2.PostInputsRequest(inputs=[picture(20 * MIB)])).inputs) == 1
    context = ssl.create_default_context(cafile=str(certificate[0]))
    answer = httpx.get(f"{server.url}/v2/models/m", headers={"authorization": "Key pat"}, verify=context)
    assert answer.json()["model"]["id"] == "m"
    assert {call.base_url for call in server.nouns.calls} == {server.url}
    assert server.url.startswith("https://")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["h2"], "h2"), (["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1")],
    ids=["a gRPC client", "an old client", "curl or a browser"],
)
def test_tls_clients_get_the_protocol_that_their_calls_come_in(running, certificate, offered, chosen):
    server = running(tls=certificate)
    context = ssl.create_default_context(cafile=str(certificate[0]))
    context.set_alpn_protocols(offered)
    with connected(server) as plain, context.wrap_socket(plain, server_hostname="localhost") as client:
        assert client.selected_alpn_protocol() == chosen


def test_a_certificate_that_cannot_be_used_is_told_in_a_sentence(tmp_path):
    (tmp_path / "c.pem").write_text("no certificate")
    with pytest.raises(CannotListen, match="cannot be used"):
        Front(host="127.0.0.1", port=0, app=None, grpc_socket=tmp_path / "s", tls=(tmp_path / "c.pem",) * 2)
