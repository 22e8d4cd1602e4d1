"""Downloads from a real server on this machine, and all the ways to be led astray."""

import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from lehr.errors import DownloadFailed, InvalidRequest
from lehr.serving.fetch import Fetcher, host_header

BODY = bytes(range(256)) * 1000


class Site(BaseHTTPRequestHandler):
    """Each path is one way to behave."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name, _, rest = self.path[1:].removesuffix("?signature=secret").partition("/")
        self.server.seen.append((self.path, self.headers["Host"], dict(self.headers)))
        getattr(self, f"on_{name}")(rest)

    def log_message(self, *args):
        pass

    def answer(self, status=200, body=b"", length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not False:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def on_image(self, rest):
        self.answer(body=BODY, Content_Type="image/png")

    def on_missing(self, rest):
        self.answer(404)

    def on_to(self, rest):
        self.answer(302, Location=rest)

    def on_nowhere(self, rest):
        self.answer(302)

    def on_round(self, rest):
        self.answer(307, Location=f"/round/{int(rest) + 1}")

    def on_hops(self, rest):
        self.answer(301, Location=f"/hops/{int(rest) - 1}" if int(rest) > 1 else "/image")

    def on_short(self, rest):
        self.answer(body=BODY, length=len(BODY) + 1000)
        self.close_connection = True

    def on_declared_large(self, rest):
        self.answer(length=10**12)
        self.close_connection = True

    def on_endless(self, rest):
        self.answer(length=False)
        self.close_connection = True
        while True:
            self.wfile.write(BODY)

    def on_chunked(self, rest):
        self.answer(length=False, Transfer_Encoding="chunked")
        for _ in range(3):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(BODY), BODY))
        self.wfile.write(b"0\r\n\r\n")

    def on_compressed(self, rest):
        self.answer(body=b"\x1f\x8b", Content_Encoding="gzip")

    def on_silent(self, rest):
        self.server.done.wait(30)

    def on_dripping_headers(self, rest):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.server.done.wait(0.05):
            self.wfile.write(b"X-Drop: 1\r\n")

    def on_dripping_body(self, rest):
        self.answer(length=10**6)
        while not self.server.done.wait(0.05):
            self.wfile.write(b"x")


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients of these tests hang up on purpose


@contextmanager
def serving(tls=None):
    server = QuietServer(("127.0.0.1", 0), Site)
    server.seen, server.done = [], threading.Event()
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.done.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site():
    with serving() as server:
        yield server


def url(site, path, host="127.0.0.1"):
    return f"http://{host}:{site.server_address[1]}/{path}"


@pytest.fixture
def fetcher():
    return Fetcher(allow=["127.0.0.0/8"], max_bytes=10**6, total_seconds=30, idle_seconds=10)


@pytest.fixture
def names(monkeypatch):
    """A resolver of our own: each look-up of a name takes the next of its addresses. `names.asked` counts them."""
    real = socket.getaddrinfo

    class Names(dict):
        """Addresses by name."""

    table = Names()
    table.asked = []

    def resolve(host, port, *args, **options):
        if host not in table:
            return real(host, port, *args, **options)
        table.asked.append(host)
        answers = table[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [entry for address in addresses for entry in real(address, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return table


def test_an_allowed_network_is_reached_and_the_bytes_come_whole(site, fetcher):
    found = fetcher.fetch(url(site, "image"))
    assert (found.data, found.content_type, found.url) == (BODY, "image/png", url(site, "image"))
    assert fetcher.fetch(url(site, "chunked")).data == BODY * 3
    assert "Cookie" not in site.seen[0][2]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0", "10.0.0.1", "169.254.169.254"),
        *("192.168.0.1", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]"),
        "[2002:7f00:1::]",
    ],
)
def test_no_spelling_of_a_private_address_is_reached(site, host):
    with pytest.raises(DownloadFailed, match="is not a public address") as caught:
        Fetcher().fetch(url(site, "image", host))
    assert caught.value.code == 30002
    assert not site.seen


def test_a_redirect_to_a_private_address_is_refused(site, names):
    names["pictures.example"] = [["127.0.0.1"]]
    fetcher = Fetcher(allow=["pictures.example"])
    for inner in ("http://127.0.0.1:1/x", "http://169.254.169.254/latest", "//localhost/x"):
        with pytest.raises(DownloadFailed, match="is not a public address"):
            fetcher.fetch(url(site, f"to/{inner}", "pictures.example"))
    assert len(site.seen) == 3


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/x", "gopher://host/x"])
def test_a_redirect_to_another_protocol_is_refused(site, fetcher, target):
    with pytest.raises(DownloadFailed, match="only http and https"):
        fetcher.fetch(url(site, f"to/{target}"))


def test_redirects_are_followed_five_times_and_no_further(site, fetcher):
    assert fetcher.fetch(url(site, "hops/5")).url == url(site, "image")
    with pytest.raises(DownloadFailed, match="more than 5 times"):
        fetcher.fetch(url(site, "hops/6"))
    with pytest.raises(DownloadFailed, match="more than 5 times"):
        fetcher.fetch(url(site, "round/0"))
    with pytest.raises(DownloadFailed, match="without saying where"):
        fetcher.fetch(url(site, "nowhere"))


def test_a_name_is_looked_up_once_so_that_it_cannot_change_its_mind(site, names, monkeypatch):
    names["rebinding.example"] = [["93.184.215.14"], ["127.0.0.1"]]
    reached = []
    monkeypatch.setattr(socket.socket, "connect", lambda sock, address: reached.append(address) or refuse())
    with pytest.raises(DownloadFailed):
        Fetcher().fetch("http://rebinding.example/x")
    assert reached == [("93.184.215.14", 80)]
    assert names.asked == ["rebinding.example"]


def refuse():
    raise ConnectionRefusedError


def test_one_private_address_among_public_ones_is_enough_to_refuse(names):
    names["mixed.example"] = [["93.184.215.14", "127.0.0.1"]]
    with pytest.raises(DownloadFailed, match="is not a public address"):
        Fetcher().fetch("http://mixed.example/x")


def test_the_second_address_is_tried_when_the_first_does_not_answer(site, names):
    names["two.example"] = [["127.9.9.9", "127.0.0.1"]]
    assert Fetcher(allow=["127.0.0.0/8"]).fetch(url(site, "image", "two.example")).data == BODY
    assert site.seen[0][1] == f"two.example:{site.server_address[1]}"


def test_proxies_of_the_environment_are_not_used(site, fetcher, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetcher.fetch(url(site, "image")).data == BODY


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("missing", "the server answered 404 Not Found"),
        ("short", "ended after 256,000 of 257,000 bytes"),
        ("declared_large", "longer than the 1,000,000 bytes"),
        ("endless", "longer than the 1,000,000 bytes"),
        ("compressed", "compressed as 'gzip'"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_reason(site, fetcher, path, sentence):
    with pytest.raises(DownloadFailed, match=sentence) as caught:
        fetcher.fetch(url(site, path) + "?signature=secret")
    assert "secret" not in caught.value.details


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("silent", r"silent for 0\.3 seconds"),
        ("dripping_headers", "longer than 1 seconds"),
        ("dripping_body", "longer than 1 seconds"),
    ],
)
def test_slow_servers_are_left(site, path, sentence):
    started = time.monotonic()
    with pytest.raises(DownloadFailed, match=sentence):
        Fetcher(allow=["127.0.0.1"], total_seconds=1, idle_seconds=0.3).fetch(url(site, path))
    assert time.monotonic() - started < 20


def test_a_resolver_that_never_answers_is_left(monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: released.wait(30))
    with pytest.raises(DownloadFailed, match=r"longer than 0\.2 seconds"):
        Fetcher(total_seconds=0.2).fetch("http://slow.example/x")
    released.set()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ftp://host/x", "only http and https are fetched, not ftp"),
        ("just text", "a URL without a scheme"),
        ("http:///x", "names no host"),
        ("http://host:99999/x", "no valid URL"),
        ("http://user:word@host/x", "user name or password"),
        ("http://name.invalid/x", "is not known"),
        ("http://bad host/x", "failed|not known|no valid"),
        ("http://" + "a" * 300 + ".example/x", "failed|not known"),
    ],
)
def test_a_bad_url_is_refused_with_the_reason(address, sentence):
    with pytest.raises(DownloadFailed, match=sentence) as caught:
        Fetcher().fetch(address)
    assert "word@" not in caught.value.details


def test_spaces_and_letters_of_any_script_travel_quoted(site, fetcher):
    fetcher.fetch(url(site, "image/zwei Wörter?q=a b"))
    assert site.seen[0][0] == "/image/zwei%20W%C3%B6rter?q=a%20b"


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://bucket.example:443/x", "bucket.example"),
        ("https://bucket.example/x", "bucket.example"),
        ("http://bucket.example:443/x", "bucket.example:443"),
        ("http://[::1]:80/x", "[::1]"),
        ("http://bücher.example:81/x", "xn--bcher-kva.example:81"),
    ],
)
def test_the_host_is_named_as_browsers_name_it(address, host):
    assert host_header(urlsplit(address)) == host


def test_a_closed_port_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadFailed, match=f"nothing answers at 127.0.0.1, port {port}"):
        Fetcher(allow=["127.0.0.1"]).fetch(f"http://127.0.0.1:{port}/x")


def test_a_senseless_allow_list_is_refused_when_the_server_starts():
    with pytest.raises(InvalidRequest):
        Fetcher(allow=["10.0.0.0/99"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=secure.example"]
    command += ["-addext", "subjectAltName=DNS:secure.example"]
    try:
        subprocess.run(
            [*command, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("needs openssl: apt-get install openssl")
    return folder


def test_tls_is_verified_for_the_name_though_the_connection_goes_to_the_address(certificate, names, monkeypatch):
    names["secure.example"] = names["other.example"] = [["127.0.0.1"]]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with serving(tls=context) as site:
        port = site.server_address[1]
        with pytest.raises(DownloadFailed, match="TLS certificate"):
            Fetcher(allow=["127.0.0.1"]).fetch(f"https://secure.example:{port}/image")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
        fetcher = Fetcher(allow=["127.0.0.1"])
        assert fetcher.fetch(f"https://secure.example:{port}/image").data == BODY
        with pytest.raises(DownloadFailed, match="TLS certificate"):
            fetcher.fetch(f"https://other.example:{port}/image")
