"""The only room that imports grpc: servers, health, reflection, errors to status. Holds no rules of any kind.

`perdure.rpc.call` is the part that roles may see: what a method is, and what is known of a call. It does not import
grpc, so that a role runs without it.
"""

import os

# grpc reads this when it is loaded. With its listener on the event engine a call costs 7 % more CPU, in more threads.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
# And this: whatever scans the port fails a handshake, and each would be a line among the logs.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
