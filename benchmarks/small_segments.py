"""A server with small log segments, so that minutes do to its tables what hours do otherwise:
`python -m benchmarks.small_segments BYTES dev ...`.
"""

import sys
from functools import partial
from typing import Any

from perdure.server import serving
from perdure.server.main import main
from perdure.shards.options import ShardOptions


def run() -> None:
    """The command line."""
    options: Any = partial(ShardOptions, segment_bytes=int(sys.argv.pop(1)))
    setattr(serving, "ShardOptions", options)  # noqa: B010 - another's attribute
    main()


if __name__ == "__main__":
    run()
