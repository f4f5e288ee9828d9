"""A real S3 server on loopback for tests: moto's, with conditional writes, ETags and errors over HTTP."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from tests.services import LOOPBACK, free_port

_PYTHON = Path(__file__).parents[1] / ".venv-clients" / "bin" / "python"
BUCKET = "test-bucket"


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Start a server with one bucket and point `AWS_…` variables at it; skip the test where moto is missing.

    Yields:
        The URL of the bucket, `s3://test-bucket`.
    """
    check = [_PYTHON, "-c", "import moto.server"]
    if not _PYTHON.exists() or subprocess.run(check, capture_output=True, check=False).returncode:
        pytest.skip("no S3 server: bash .ci/run clients")
    port = free_port()
    endpoint = f"http://{LOOPBACK}:{port}"
    with log.open("wb") as output, pytest.MonkeyPatch.context() as patch:
        command = [_PYTHON, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _create_bucket(endpoint, process, log)
            for name, value in {
                "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            }.items():  # fmt: skip
                patch.setenv(name, value)
            # fsspec keeps clients by their arguments; that of an earlier server has its address from the environment.
            fsspec.get_filesystem_class("s3").clear_instance_cache()
            yield f"s3://{BUCKET}"
            if (code := process.poll()) is not None:
                raise RuntimeError(f"the S3 server ended with exit code {code} while tests used it:\n{log.read_text()}")
        finally:
            process.kill()
            process.wait()


def _create_bucket(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Create the bucket as soon as the server answers; a busy machine may take long to start it."""
    while True:
        try:
            request = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")
            urllib.request.urlopen(request, timeout=60).close()
            return
        except urllib.error.URLError:
            if process.poll() is not None:
                raise RuntimeError(f"the S3 server ended:\n{log.read_text()}") from None
            time.sleep(0.1)
