"""Operations per second of the Python packages, as JSON on standard output."""

import json
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from tibet_core import FileStore, Provider
from tibet_overlay import IdentityOverlay

FULL = sys.argv[1:] != ["quick"]
DEVICES = 100_000 if FULL else 2_000
OPERATIONS = 4_000 if FULL else 200
ROUNDS = 5 if FULL else 3


def rate(operation, items):
    """Median over the rounds; each round has its own part of the items."""
    items = list(items)
    part = len(items) // ROUNDS
    rates = []
    for start in range(0, part * ROUNDS, part):
        begin = time.perf_counter()
        for item in items[start : start + part]:
            operation(item)
        rates.append(part / (time.perf_counter() - begin))
    return statistics.median(rates)


def device(overlay, number):
    capabilities = ["mqtt", "hub"] if number % 5 == 0 else ["mqtt"]
    overlay.register(
        f"device-{number:06}", capabilities=capabilities, ip="203.0.113.1", port=44321, behind_nat=True
    )


def create(provider, number):
    provider.create(
        action="ping.intent",
        erin={
            "intent": "temperature.read",
            "purpose": "hourly reading",
            "payload": {"celsius": 21.5, "battery": 87},
        },
        eraan=["jis:bench:device-000001", "jis:bench:hub"],
        eromheen={"routing_mode": "direct", "hop_count": 0, "zone": "GROEN"},
        erachter="Hourly reading of the greenhouse",
        actor="jis:bench:device-000001",
    )


rates = {}

overlay = IdentityOverlay()
rates["register"] = rate(lambda number: device(overlay, number), range(DEVICES))
dids = [f"jis:device-{number:06}" for number in range(DEVICES)]
some = dids[:: max(1, DEVICES // OPERATIONS)]
assert overlay.resolve(some[0]).resolved and overlay.verify(some[0]).verified
rates["resolve"] = rate(overlay.resolve, some * 5)
rates["update"] = rate(
    lambda did: overlay.update_endpoint(did, "198.51.100.9:7150", "198.51.100.9", 7150), some
)
rates["verify"] = rate(overlay.verify, some)
rates["find"] = rate(lambda _: overlay.find_by_capability("hub"), range(ROUNDS * 10))

provider = Provider(actor="jis:bench:hub")
rates["token_create_memory"] = rate(lambda number: create(provider, number), range(OPERATIONS * 5))
tokens = provider.find(limit=OPERATIONS)
rates["token_verify"] = rate(lambda token: token.verify(), tokens)

with tempfile.TemporaryDirectory() as directory:
    path = str(Path(directory) / "tokens.jsonl")
    store = FileStore(path)
    provider = Provider(actor="jis:bench:hub", store=store)
    rates["token_create_file"] = rate(lambda number: create(provider, number), range(OPERATIONS))
    begin = time.perf_counter()
    store.verify_file()
    rates["token_verify_file"] = OPERATIONS / (time.perf_counter() - begin)

packages = ", ".join(f"{name} {version(name)}" for name in ("tibet-core", "tibet-overlay"))
print(json.dumps({"rates": rates, "versions": f"{packages}, Python {platform.python_version()}"}))
