"""The conformance harness: server processes, a raw gRPC client, the recorder, the registry of scenarios."""
