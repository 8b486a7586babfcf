"""YAML files as keys and values. Invariant: no error shows a piece of a file: it may be secret."""

from typing import Any

import yaml

from perdure.base.errors import InvalidArgument


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
