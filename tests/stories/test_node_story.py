"""The published Node client, unmodified: it speaks gRPC over TLS, and so does the server here."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = Path(__file__).parent.parent / "node"
CLIENT = NODE / "node_modules/clarifai-nodejs-grpc"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("node") and CLIENT.is_dir()),
    reason="needs Node and its client: apt install nodejs npm; npm --prefix tests/node install --no-package-lock",
)
def test_the_node_client_creates_trains_and_predicts(own_server, certificate, digits, tmp_path):
    own_server.start("--tls-certificate", str(certificate[0]), "--tls-key", str(certificate[1]))
    pictures = tmp_path / "pictures.json"
    told = [{"id": i, "concept": label, "png": base64.b64encode(png).decode()} for i, label, png in digits(410)]
    pictures.write_text(json.dumps(told))
    address = f"localhost:{own_server.port}"
    done = subprocess.run(
        ["node", NODE / "story.js", address, own_server.token, pictures],
        env={**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate[0])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["status"] == 21100
    assert seen["right"] >= 8
    assert seen["missing"] == 21200
