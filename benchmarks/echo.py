"""The bare minimum that a server on this loop could cost: give back what came, look at nothing."""

import asyncio
import sys

import uvloop


class Echo(asyncio.Protocol):
    """Writes back every chunk as it arrived."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = transport.write  # type: ignore[attr-defined]  # uvloop's transports share no base class

    def data_received(self, data: bytes) -> None:
        self.write(data)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=4096)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
