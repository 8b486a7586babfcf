"""The only room that imports grpc: servers, health, reflection, errors to status. Holds no rules of any kind.

`perdure.rpc.call` is the part that roles may see: what a method is, and what is known of a call. It does not import
grpc, so that a role runs without it.
"""
