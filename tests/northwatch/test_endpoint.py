"""The loopback endpoint answers while it can and says what is wrong when it cannot."""

import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from northwatch.endpoint import Endpoint


@pytest.fixture
def health() -> dict[str, Any]:
    return {"ok": True, "sessions": 3}


@pytest.fixture
def endpoint(health: dict[str, Any]) -> Iterator[Endpoint]:
    registry = CollectorRegistry()
    Counter("frames", "Frames", registry=registry).inc(7)
    endpoint = Endpoint(0, lambda: {**health, "rate": 1 / health.get("divisor", 1)}, registry)
    yield endpoint
    endpoint.close()


def get(endpoint: Endpoint, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_is_json_and_its_ok_decides_the_status(endpoint: Endpoint, health: dict[str, Any]) -> None:
    status, body = get(endpoint, "/healthz")
    assert (status, json.loads(body)) == (200, {"ok": True, "sessions": 3, "rate": 1.0})
    health["ok"] = False
    assert get(endpoint, "/healthz")[0] == 503


def test_a_failing_health_is_an_answer_too(endpoint: Endpoint, health: dict[str, Any]) -> None:
    health["divisor"] = 0
    status, body = get(endpoint, "/healthz")
    assert status == 503
    assert "ZeroDivisionError" in json.loads(body)["error"]


def test_metrics_are_for_prometheus(endpoint: Endpoint) -> None:
    status, body = get(endpoint, "/metrics")
    assert status == 200
    assert "frames_total 7.0" in body


def test_nothing_else_is_there(endpoint: Endpoint) -> None:
    assert get(endpoint, "/")[0] == 404


def test_a_taken_port_fails_at_once(endpoint: Endpoint) -> None:
    with pytest.raises(OSError, match="in use"):
        Endpoint(endpoint.port, dict, CollectorRegistry())


def test_those_who_do_not_wait_for_the_answer_leave_no_traceback(
    endpoint: Endpoint, capfd: pytest.CaptureFixture[str]
) -> None:
    class Gone:
        """A connection that the other side has reset."""

        def makefile(self, *_: object) -> io.BytesIO:
            return io.BytesIO(b"GET /metrics HTTP/1.1\r\n\r\n")

        def settimeout(self, _: float) -> None: ...

        def sendall(self, _: bytes) -> None:
            raise self.error

        def shutdown(self, _: int) -> None: ...

        def close(self) -> None: ...

        error: Exception = BrokenPipeError()

    gone = Gone()
    for gone.error in (BrokenPipeError(), ConnectionResetError(), TimeoutError()):
        endpoint._server.process_request_thread(gone, ("127.0.0.1", 1))  # type: ignore[arg-type]
    assert capfd.readouterr() == ("", "")
    gone.error = ValueError("a defect of ours")
    endpoint._server.process_request_thread(gone, ("127.0.0.1", 1))  # type: ignore[arg-type]
    assert "a defect of ours" in capfd.readouterr().err
