"""YAML files as keys and values. Invariant: bounded in bytes; no error shows a piece of a file: it may be secret."""

from pathlib import Path
from typing import Any

import yaml

from perdure.base.errors import InvalidArgument

FILE_BYTES_MAX = 1 << 20


def read_file(path: str) -> bytes:
    """The bytes of a file of any kind that is small enough. Raises InvalidArgument."""
    try:
        with Path(path).open("rb") as file:
            body = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror or error}") from error
    if len(body) > FILE_BYTES_MAX:
        raise InvalidArgument(f"{path}: larger than {FILE_BYTES_MAX >> 20} MiB, that is no configuration")
    return body


def parse_yaml(path: str, body: bytes, expected: str) -> dict[str, Any]:
    """The keys and values of a file's body, none of an empty one; `expected`: what keys there could be. Raises
    InvalidArgument.
    """
    try:
        values = yaml.load(body, _Loader)
    except RecursionError:
        raise InvalidArgument(f"{path}: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        # Its own text shows a piece of the file, where a secret may be.
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it can't be read"
        raise InvalidArgument(f"{path}:{where} not a YAML file: {problem}") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InvalidArgument(f"{path}: expected keys with values, such as {expected}")
    return values


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: one of the two would be without effect."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
