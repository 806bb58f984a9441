"""Lets the fuzzer check DID documents and results, which are JSON by other names."""

import schemathesis


@schemathesis.deserializer("application/did", "application/did-resolution")
def read_did(context, response):
    return response.json()
