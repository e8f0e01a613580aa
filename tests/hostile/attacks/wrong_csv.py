"""Files of megabytes in which every line is wrong, to be imported."""

import http.client

from tests.hostile.attack import Target

MIB = 1 << 20


def attack(target: Target) -> str:
    """Send them as an administrator does."""
    size = 6 * MIB
    for data in (b"identity\n" + b"x\n" * (size // 2), b"plate\n" + b"\n" * size, b"plate\n" + b"," * size):
        connection = http.client.HTTPConnection("127.0.0.1", target.service.web_port, timeout=120)
        head = {"Cookie": target.service.cookie, "Content-Type": "text/csv"}
        try:
            connection.request("POST", "/api/v1/fleet/import?dry_run=true", data, head)
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        assert answer.status == 422, (answer.status, said[:200])
        assert len(said) < MIB, f"an answer of {len(said):,} bytes"
    return "3 files of 6 MiB"
