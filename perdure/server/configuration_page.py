"""Writes docs/configuration.md: every key of a configuration and its variable, every dynamic key, what is not there.

Read from the code; a test compares the two.
"""

from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from perdure.base.clock import MS_NS, SECOND_NS
from perdure.base.limits import RetryDefaults
from perdure.server.config import Config, section_of, variables
from perdure.server.dynamic import Settings
from perdure.server.dynamic_keys import ABSENT, KEYS, Key, Scope

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
_HEAD = """\
# Configuration

Written from the code by `make compat`. [perdure.yaml](perdure.yaml) shows every key with a comment.

`perdure server start --config FILE --role ROLE` runs a server; `perdure config check` says whether a server would take
a file, `perdure config show` what it means with all defaults. Each value can also be set by the environment, which
wins; an empty variable sets nothing. Durations are written `500ms`, `10s`, `1h30m`, `3d`; lists in variables `[a, b]`.
A key that is not known is refused, and so is a variable with two underscores that is none of these; one that only looks
like one of these, `PERDURE_LOG_LEVEL`, sets nothing, which the log and `config check` say.

Secrets are in files of their own: `store.cassandra.password_file`, and the keys of certificates.

| key | default | variable |
|---|---|---|
"""
_DYNAMIC = """\
## Dynamic configuration

By the keys, and with the defaults, of Temporal's server. Under `dynamic.values`, or in the file that `dynamic.file`
names, which is read again while the server runs: a change applies within ten seconds. The file wins. Upper and lower
case are the same.

```yaml
limit.blobSize.error: 2097152
frontend.namespaceRPS:
  - value: 2400
  - value: 100
    constraints: {namespace: batch}
```

Constraints are `namespace`, and where it says so `taskQueueName` and `taskType` (Workflow or Activity). Of the values
that match, the most specific one holds, and of equals the first. A value that its key can't have changes nothing: the
former one stays, and the metric `dynamic_config_faults` is above 0 until it is put right. A key that is not known is
logged, with the reason if it is one of those at the end of this page.
A server doesn't start with a faulty value under `dynamic.values`, or with a file that can't be read.

`history.rps` and `matching.rps` are calls a second that one host of the role takes from other hosts; 0, any number, is
the default, for callers are limited at frontends, and memory is bounded anyway. The reference's are 3,000 and 1,200,
for hosts of many cores. One of these is a core, which carries some thousands of calls to history a second, or about
ten thousand polls. Refused is, what matters least first, what clients and workers ask: never what roles do for
one another, nor a shard's move.

| key | default | for | a change applies |
|---|---|---|---|
"""
_ABSENT = """\
## Keys that have no effect

| key | why |
|---|---|
"""


def page() -> str:
    """The whole page."""
    absent = [f"| `{name}` | {why} |" for name, why in sorted(ABSENT.items(), key=lambda item: item[0].lower())]
    return "\n".join(
        [_HEAD + "\n".join(_keys()), "", _DYNAMIC + "\n".join(_dynamic()), "", _ABSENT + "\n".join(absent), ""]
    )


def _keys() -> Iterator[str]:
    for variable, keys in variables():
        yield f"| `{'.'.join(keys)}` | {_default(keys)} | `{variable}` |"


def _default(keys: tuple[str, ...]) -> str:
    section: type[BaseModel] = Config
    is_optional = False
    for key in keys[:-1]:
        field = section.model_fields[key]
        is_optional = is_optional or NoneType in get_args(field.annotation)
        inner = section_of(field.annotation)
        assert inner is not None
        section = inner
    return _shown(section.model_fields[keys[-1]], is_optional=is_optional, is_time=keys[-1] != "ratio")


def _shown(field: FieldInfo, *, is_optional: bool, is_time: bool) -> str:
    if field.is_required():
        return "needed, if its section is there" if is_optional else "needed"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, list) and value and isinstance(value[0], BaseModel):
        return ", ".join(f"`{one.name}`" for one in value if hasattr(one, "name"))
    if isinstance(value, list | dict):
        return f"`{', '.join(map(str, value))}`" if value else "none"
    return (
        f"`{_duration(value)}`"
        if isinstance(value, float) and is_time
        else f"`{str(value).lower()}`"
        if isinstance(value, bool)
        else f"`{value}`"
    )


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def _dynamic() -> Iterator[str]:
    for _, key in sorted(KEYS.items()):
        when = "at once" if key.is_live else "at the next start"
        whom = "everybody" if key.scope is Scope.GLOBAL else key.scope.value
        yield f"| `{key.name}` | {_dynamic_default(key)} | {whom} | {when} |"


def _dynamic_default(key: Key) -> str:
    owner: Any = getattr(Settings(), key.part) if key.part else Settings()
    value = getattr(owner, key.field)
    if isinstance(value, RetryDefaults):
        first = _duration(value.initial_interval_ns / SECOND_NS)
        longest = f"{value.maximum_coefficient:g} times the first"
        return f"from {first}, times {value.backoff_coefficient:g}, up to {longest}; any number"
    if isinstance(value, bool) or key.is_gathered:
        return f"`{str(bool(value)).lower()}`"
    if key.field.endswith(("_ns", "_ns_max")):
        return f"`{_duration(value / SECOND_NS)}`"
    if key.field.endswith(("_ms", "_ms_min")):
        return f"`{_duration(value * MS_NS / SECOND_NS)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else "none"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
