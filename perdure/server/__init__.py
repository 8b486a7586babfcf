"""The composition root: configuration, command line, signals, and plain constructor calls. Decides nothing of
workflows.
"""

import os

# gRPC's core reads this when it is first imported. It would write lines of its own form to standard error; what it has
# to say reaches us as errors, too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
