"""The line to a broker that speaks TLS and asks for a password."""

from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest

from northwatch.events.broker import parse
from northwatch.events.line import open_line
from northwatch.events.messages import Message
from tests.events.broker import BrokerServer, brokers
from tests.gateway.authority import Authority

LOGIN = 'authorization { users = [{ user: "watch", password: "p@ss/w#rd" }] }'
PASSWORD = "p%40ss%2Fw%23rd"
WORD = Message("northwatch/word", b"{}", retain=True)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def broker(tmp_path: Path, authority: Authority) -> Iterator[BrokerServer]:
    own = authority.issue("broker")
    tls = f'tls {{ cert_file: "{own.certificate}", key_file: "{own.key}" }}'
    yield from brokers(tmp_path / "broker", LOGIN, tls)


async def tell(url: str, ca_file: Path | None) -> None:
    async with open_line(parse(url, ca_file), "test", WORD) as line:
        await line.send([WORD])


async def test_who_is_known_and_knows_the_broker_is_heard(broker: BrokerServer, authority: Authority) -> None:
    await tell(f"mqtts://watch:{PASSWORD}@127.0.0.1:{broker.port}", authority.certificate)


async def test_everybody_else_is_not(broker: BrokerServer, authority: Authority, tmp_path: Path) -> None:
    here = f"127.0.0.1:{broker.port}"
    for url, ca_file in (
        (f"mqtts://watch:wrong@{here}", authority.certificate),
        (f"mqtts://{here}", authority.certificate),
        (f"mqtts://watch:{PASSWORD}@{here}", None),
        (f"mqtts://watch:{PASSWORD}@{here}", Authority(tmp_path, "other").certificate),
    ):
        with pytest.raises(aiomqtt.MqttError):
            await tell(url, ca_file)
