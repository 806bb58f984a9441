"""A node of the Python packages on loopback, for the tests of tibet-iot.

    ping_node.py listen DID [--trust DID=SCORE]... [--peer DID=HOST:PORT]... [--msgpack]
    ping_node.py send DID HOST:PORT INTENT --my-did DID [--msgpack] [--mesh] [--timeout SECONDS]

`listen` prints {"port": N} and then one JSON line for each packet it was asked, relayed or refused, until its standard input ends.
`send` prints the answer as JSON, or null. Nothing leaves loopback: multicast, broadcast and heartbeats are switched off.
"""

import argparse
import asyncio
import json
import sys
import warnings

warnings.simplefilter("ignore")

from tibet_ping import IoTNode, PingPacket, RoutingMode, TransportConfig


def say(line):
    print(json.dumps(line, default=str), flush=True)


def loopback(text):
    host, _, port = text.rpartition(":")
    if not host.startswith("127."):
        raise argparse.ArgumentTypeError("only loopback")
    return host, int(port)


def pair(text):
    name, _, value = text.rpartition("=")
    return name, value


def quiet(did, msgpack):
    config = TransportConfig(bind_host="127.0.0.1", bind_port=0, use_msgpack=msgpack, broadcast=False)
    node = IoTNode(did, config=config, heartbeat_interval=1e9, discovery_interval=1e9)

    async def nothing(*arguments, **options):
        return None

    node.discovery.start_listening = nothing
    node.transport.broadcast = nothing
    return node


async def listen(arguments):
    node = quiet(arguments.did, arguments.msgpack)
    for did, score in arguments.trust:
        node.set_trust(did, float(score))
    for did, address in arguments.peer:
        node.peers.record_activity(did, loopback(address))

    receive = node.ping_node.receive

    def receive_and_tell(packet):
        response = receive(packet)
        say({"asked": packet.to_dict(), "decision": response.decision.value, "zone": response.airlock_zone})
        return response

    node.ping_node.receive = receive_and_tell
    send_packet = node.transport.send_packet

    async def send_and_tell(packet, address):
        say({"relayed": packet.to_dict(), "to": f"{address[0]}:{address[1]}"})
        await send_packet(packet, address)

    node.transport.send_packet = send_and_tell
    incoming = node._handle_incoming

    async def incoming_and_tell(item, address):
        if not isinstance(item, PingPacket):
            say({"response": item.to_dict(), "expected": item.in_response_to in node._pending})
        await incoming(item, address)

    node._handle_incoming = incoming_and_tell
    await node.start()
    say({"port": node.transport._transport.get_extra_info("sockname")[1]})
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await node.stop()


async def send(arguments):
    node = quiet(arguments.my_did, arguments.msgpack)
    await node.start()
    response = await node.send_ping(
        target=arguments.did,
        addr=arguments.address,
        intent=arguments.intent,
        purpose="interop",
        routing_mode=RoutingMode.MESH if arguments.mesh else RoutingMode.DIRECT,
        timeout=arguments.timeout,
    )
    await node.stop()
    say(response.to_dict() if response else None)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    hub = commands.add_parser("listen")
    hub.add_argument("did")
    hub.add_argument("--trust", type=pair, action="append", default=[])
    hub.add_argument("--peer", type=pair, action="append", default=[])
    hub.add_argument("--msgpack", action="store_true")
    hub.set_defaults(run=listen)
    asker = commands.add_parser("send")
    asker.add_argument("did")
    asker.add_argument("address", type=loopback)
    asker.add_argument("intent")
    asker.add_argument("--my-did", required=True)
    asker.add_argument("--msgpack", action="store_true")
    asker.add_argument("--mesh", action="store_true")
    asker.add_argument("--timeout", type=float, default=10.0)
    asker.set_defaults(run=send)
    arguments = parser.parse_args()
    asyncio.run(arguments.run(arguments))


main()
