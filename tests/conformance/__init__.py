"""Conformance: every scenario runs on the reference server and on Perdure, and their transcripts must be equal.

Holds the scenarios and the harness that runs them. Refuses to know anything of Perdure's insides: it imports nothing of
the product, and speaks to both servers through the public gRPC API only.
"""
