"""Perdure: a durable-execution cluster that speaks Temporal's public gRPC API."""
