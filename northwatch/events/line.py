"""The line to the broker: messages are sent in order, and a message counts as sent when the broker has it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt

from northwatch.events.broker import Broker
from northwatch.events.messages import Message

WINDOW = 100
"""Messages on their way at once; brokers take more than the 20 that are usual."""
ACK_TIMEOUT_S = 30.0
"""A broker that acknowledges nothing for so long is away."""
CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 15
"""A broker that vanished without a word is noticed after one and a half of it."""
AT_LEAST_ONCE = 1


class Line:
    """An open line. Everything here raises `aiomqtt.MqttError` when the broker is gone."""

    def __init__(self, client: aiomqtt.Client, gone: asyncio.Task[None]) -> None:
        self._client = client
        self._gone = gone

    async def send(self, batch: Sequence[Message]) -> None:
        """Publish in order, and wait until the broker has acknowledged all of it."""
        for at in range(0, len(batch), WINDOW):
            sending = asyncio.gather(*map(self._publish, batch[at : at + WINDOW]))
            # Without a look at the line, a message whose line broke would wait for its time-out.
            either: tuple[asyncio.Future[Any], ...] = (sending, self._gone)
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                sending.cancel()
                self.check()
            await sending

    def check(self) -> None:
        """Notice that the broker is gone."""
        if self._gone.done():
            self._gone.result()

    async def _publish(self, message: Message) -> None:
        await self._client.publish(
            message.topic, message.payload, AT_LEAST_ONCE, message.retain, timeout=ACK_TIMEOUT_S
        )


@asynccontextmanager
async def open_line(broker: Broker, identifier: str, will: Message) -> AsyncIterator[Line]:
    """Connect. The broker publishes `will` when it loses us, but not when we leave."""
    client = aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.user,
        password=broker.password,
        identifier=identifier,
        will=aiomqtt.Will(will.topic, will.payload, AT_LEAST_ONCE, will.retain),
        keepalive=KEEPALIVE_S,
        timeout=CONNECT_TIMEOUT_S,
        max_inflight_messages=WINDOW,
        tls_context=_tls_context(broker) if broker.tls else None,
    )
    client.pending_calls_threshold = WINDOW
    async with client:
        gone = asyncio.create_task(_until_gone(client))
        try:
            yield Line(client, gone)
        finally:
            gone.cancel()


async def _until_gone(client: aiomqtt.Client) -> None:
    """Wait for the end of the line; we subscribe to nothing.

    Raises:
        aiomqtt.MqttError
    """
    async for _ in client.messages:
        pass


def _tls_context(broker: Broker) -> ssl.SSLContext:
    """Trust the system's certificates, or those of the file alone."""
    return ssl.create_default_context(cafile=str(broker.ca_file) if broker.ca_file else None)
