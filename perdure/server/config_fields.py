"""How a value of the configuration is read: each kind says what it expects, and takes what a file or a variable has.

A variable of the environment is text; a file has numbers and lists, too. Invariant: an error names what was expected,
and never the value of a secret. Refuses to know which keys there are.
"""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr

from perdure.base.errors import InvalidArgument
from perdure.server.dynamic_readers import duration_ns

SHOWN_MAX = 60


def shown(value: object) -> str:
    """A value in an error's text, cut if it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "…"


def unfit(expected: str, value: object) -> ValueError:
    """An error for a value that isn't what was expected."""
    return ValueError(f"expected {expected}, not {shown(value)}")


class Section(BaseModel):
    """A part of the configuration with keys of its own; others are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def whole(least: int, most: int) -> BeforeValidator:
    """A whole number of a range."""

    def read(value: object) -> int:
        fault = unfit(f"a whole number from {least} to {most}", value)
        if isinstance(value, str) and value.strip().lstrip("-").isascii() and value.strip().lstrip("-").isdigit():
            # Longer ones are out of any range, and slow to read.
            value = int(value) if len(value) < SHOWN_MAX else value
        if type(value) is not int or not least <= value <= most:
            raise fault
        return value

    return BeforeValidator(read)


def seconds(least: float, most: float) -> BeforeValidator:
    """A duration as in `10s`, `1h30m`, `3d`, or a number of seconds; in seconds."""

    def read(value: object) -> float:
        fault = unfit(f"a duration such as 10s, from {_readable(least)} to {_readable(most)}", value)
        plain = _plain(value)
        try:
            found = 0.0 if plain in (0, "0s") and plain is not False else duration_ns(plain) / 1e9
        except InvalidArgument:
            raise fault from None
        if not least <= found <= most:
            raise fault
        return found

    return BeforeValidator(read)


def _readable(duration_s: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if duration_s and duration_s % length_s == 0:
            return f"{duration_s / length_s:g}{unit}"
    return f"{duration_s:g}s"


def _plain(value: object) -> object:
    """A text that is a number as that number."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value.strip()


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise unfit("a text, in quotes if it looks like a number", value)
    return value.strip()


def _flag(value: object) -> bool:
    found = {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise unfit("true or false", value)
    return found


def _secret(value: object) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str):
        # Its value stays out of the error.
        fault = unfit("a text, in quotes", type(value).__name__)
        raise fault
    return SecretStr(value)


def _structure(kind: type, expected: str) -> BeforeValidator:
    """A list or keys with values; a variable writes it as YAML or JSON, `[a, b]`."""

    def read(value: object) -> object:
        found = value
        if isinstance(value, str):
            try:
                found = yaml.safe_load(value)
            except (yaml.YAMLError, RecursionError):
                found = value
        if not isinstance(found, kind):
            raise unfit(expected, value)
        return found

    return BeforeValidator(read)


def _listed(value: object) -> object:
    """A text as a list: in brackets it is YAML or JSON, else its parts are parted by commas."""
    if not isinstance(value, str):
        return value
    if value.strip().startswith("["):
        try:
            return yaml.safe_load(value)
        except (yaml.YAMLError, RecursionError):
            return value
    return [part.strip() for part in value.split(",")]


def split(expected: str) -> BeforeValidator:
    """A list of words, in a variable also parted by commas."""

    def read(value: object) -> object:
        found = _listed(value)
        if not isinstance(found, list) or not found:
            raise unfit(f"a list of {expected}", value)
        return found

    return BeforeValidator(read)


def _texts(value: object) -> list[str]:
    found = _listed(value)
    if not isinstance(found, list) or not found or not all(isinstance(part, str) and part.strip() for part in found):
        raise unfit("a list of texts", value)
    return [part.strip() for part in found]


def _source(value: str) -> str:
    """An address on the network, or a file."""
    if value.startswith(("https://", "http://")):
        if not urlsplit(value).hostname:
            raise unfit("an address with a host, https://host/path", value)
        return value
    try:
        _file(value.removeprefix("file://"))
    except ValueError as error:
        raise ValueError(f"expected an https (or http) address, or a file: {error}") from None
    return value


def _file(value: str) -> str:
    """A file that is there and may be read. Its contents are read when they are needed."""
    try:
        with Path(value).open("rb"):
            return value
    except OSError as error:
        raise ValueError(f"expected a file that can be read; {value}: {error.strerror or error}") from None


Port = Annotated[int, whole(0, 65_535)]
Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[list[str], BeforeValidator(_texts)]
File = Annotated[str, BeforeValidator(_text), AfterValidator(_file)]
Source = Annotated[str, BeforeValidator(_text), AfterValidator(_source)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Secret = Annotated[SecretStr, BeforeValidator(_secret)]
A_LIST = _structure(list, "a list")
KEYS_AND_VALUES = _structure(dict, "keys with values")
