"""What a run says while it goes on, with the seconds since it began."""

import sys
import time

_BEGUN = time.monotonic()


def say(text: str) -> None:
    """To whoever watches."""
    sys.stdout.write(f"{time.monotonic() - _BEGUN:7.1f}  {text}\n")
    sys.stdout.flush()
