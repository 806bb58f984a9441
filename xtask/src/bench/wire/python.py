"""Pings between two nodes of the Python packages on loopback, in two processes. Prints [pings/s, p50 in µs, p99 in µs]."""

import asyncio
import json
import multiprocessing
import sys
import time
import warnings

warnings.simplefilter("ignore")

from tibet_ping import IoTNode, TransportConfig


def quiet(did):
    """A node that speaks to nobody but us."""
    config = TransportConfig(bind_host="127.0.0.1", bind_port=0, broadcast=False)
    node = IoTNode(did, config=config, heartbeat_interval=1e9, discovery_interval=1e9)

    async def nothing(*arguments, **options):
        return None

    node.discovery.start_listening = nothing
    node.transport.broadcast = nothing
    return node


def serve(pipe):
    async def run():
        hub = quiet("jis:home:hub")
        hub.set_trust("jis:home:sensor", 0.95)
        await hub.start()
        pipe.send(hub.transport._transport.get_extra_info("sockname")[1])
        while not pipe.poll():
            await asyncio.sleep(0.1)
        await hub.stop()

    asyncio.run(run())


async def ask(port, outstanding, pings):
    sensor = quiet("jis:home:sensor")
    await sensor.start()
    latencies = []

    async def asker():
        for _ in range(pings // outstanding):
            begun = time.perf_counter()
            answer = await sensor.send_ping(
                target="jis:home:hub",
                addr=("127.0.0.1", port),
                intent="temperature.read",
                purpose="Check room temperature",
                timeout=10.0,
            )
            assert answer is not None, "an answer was lost"
            latencies.append((time.perf_counter() - begun) * 1e6)

    begun = time.perf_counter()
    await asyncio.gather(*(asker() for _ in range(outstanding)))
    lasted = time.perf_counter() - begun
    await sensor.stop()
    latencies.sort()
    share = lambda part: latencies[min(int(len(latencies) * part), len(latencies) - 1)]
    print(json.dumps([len(latencies) / lasted, share(0.5), share(0.99)]))


if __name__ == "__main__":
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    server = multiprocessing.get_context("fork").Process(target=serve, args=(theirs,))
    server.start()
    try:
        asyncio.run(ask(ours.recv(), int(sys.argv[1]), int(sys.argv[2])))
    finally:
        ours.send("stop")
        server.join()
