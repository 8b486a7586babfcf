"""Files that people write for a server: configurations, certificates, keys.

Invariant: no more of a file is read than such a file has, and no error shows a piece of it: it may be secret.
"""

from pathlib import Path

from perdure.base.errors import InvalidArgument

FILE_BYTES_MAX = 1 << 20


def read_file(path: str, kind: str = "configuration") -> bytes:
    """The bytes of a file, which is small if it is of this kind. Raises InvalidArgument."""
    try:
        with Path(path).open("rb") as file:
            body = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror or error}") from error
    if len(body) > FILE_BYTES_MAX:
        raise InvalidArgument(f"{path}: larger than {FILE_BYTES_MAX >> 20} MiB, that is no {kind}")
    return body
