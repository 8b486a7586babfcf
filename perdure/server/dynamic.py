"""The dynamic configuration in force: what keys set, for whom, and how it changes while a server runs.

A value may be for some namespaces or task queues only; of those that match, the most specific one holds, and of equals
the first. A key that is not known here is reported, never an error: test environments of SDKs set keys of features to
come. Invariant: a value that its key can't have changes nothing: the former one stays. Refuses to know where values
come from.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits, QueueRule
from perdure.rpc.server import ServerOptions
from perdure.server.cluster import CACHE_BYTES_MAX
from perdure.server.dynamic_keys import KEYS, Key, Scope

# Names of task queues are callers': beyond so many, what was found out is found out again.
_KEPT_MAX = 10_000
_TYPES = {"workflow": "Workflow", "activity": "Activity", "1": "Workflow", "2": "Activity"}
_CONSTRAINTS = {
    Scope.GLOBAL: (),
    Scope.NAMESPACE: ("namespace",),
    Scope.QUEUE: ("namespace", "taskqueuename", "tasktype"),
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What keys set for a whole server: what callers may use, how connections are kept, the bytes of executions in
    memory, and for how long a frontend that stops still takes calls after it says that it doesn't serve.
    """

    limits: Limits = Limits()
    listener: ServerOptions = ServerOptions()
    cache_bytes_max: int = CACHE_BYTES_MAX
    shutdown_pause_ns: int = 0


class Rule(msgspec.Struct, frozen=True):
    """A value and for what it holds; "" = for all."""

    value: Any
    namespace: str = ""
    task_queue: str = ""
    task_type: str = ""

    @property
    def rank(self) -> int:
        """How specific: a task queue counts more than a namespace, and that more than a type."""
        return 4 * bool(self.task_queue) + 2 * bool(self.namespace) + bool(self.task_type)

    def matches(self, namespace: str, task_queue: str, task_type: str) -> bool:
        """Whether it holds there."""
        return (
            self.namespace in ("", namespace)
            and self.task_queue in ("", task_queue)
            and self.task_type in ("", task_type)
        )


class Parsed(msgspec.Struct, frozen=True):
    """Values as read: by key in lower case, the most specific last. `faults`: key -> what is wrong with its value."""

    rules: dict[str, tuple[Rule, ...]]
    faults: dict[str, str]
    unknown: list[str]


class Dynamic:
    """A `LimitsSource` over `defaults` and whatever was applied last."""

    def __init__(self, defaults: Settings = Settings()) -> None:  # noqa: B008 - it is frozen
        self._defaults = defaults
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._constrained: list[tuple[str, Rule]] = []
        self._has_queues = False
        self._kept: dict[tuple[str, str, str], Limits] = {}
        self.settings = defaults

    def of(self, namespace: str = "", task_queue: str = "", task_type: str = "") -> Limits:
        """As `LimitsSource`."""
        if not self._constrained:
            return self.settings.limits
        where = (namespace, task_queue, task_type) if self._has_queues else (namespace, "", "")
        found = self._kept.get(where)
        return found if found is not None else self._made(where)

    def apply(self, parsed: Parsed) -> list[str]:
        """Put values in force; a key with a fault keeps those it had. The names of keys whose values are others now."""
        rules = dict(parsed.rules)
        for key in parsed.faults:
            if key.lower() in self._rules:
                rules[key.lower()] = self._rules[key.lower()]
        keys = sorted(rules.keys() | self._rules.keys())
        changed = [KEYS[key].name for key in keys if rules.get(key) != self._rules.get(key)]
        self._rules = rules
        self.settings = _with(self._defaults, rules)
        # Later ones win: by specificity over all keys, as each key keeps its own order.
        self._constrained = [(key, rule) for key, own in rules.items() for rule in own if rule.rank]
        self._has_queues = any(rule.task_queue or rule.task_type for _, rule in self._constrained)
        self._kept.clear()
        return changed

    def _made(self, where: tuple[str, str, str]) -> Limits:
        if len(self._kept) >= _KEPT_MAX:
            self._kept.clear()
        fields = {KEYS[key].field: rule.value for key, rule in self._constrained if rule.matches(*where)}
        for name, own in self._rules.items():
            if KEYS[name].is_gathered:
                fields[KEYS[name].field] = _gathered(own, where[0])
        limits = self.settings.limits
        made = self._kept[where] = msgspec.structs.replace(limits, **fields) if fields else limits
        return made


def _gathered(rules: tuple[Rule, ...], namespace: str) -> tuple[QueueRule, ...]:
    """The rules of a namespace, for whichever task queue."""
    return tuple(
        QueueRule(rule.value, rule.task_queue, rule.task_type) for rule in rules if rule.namespace in ("", namespace)
    )


def parse(values: Mapping[str, object]) -> Parsed:
    """Read values by key, each written plainly or as a list of `{value, constraints}`."""
    rules: dict[str, tuple[Rule, ...]] = {}
    faults: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in values.items():
        key = KEYS.get(str(name).lower())
        if key is None:
            unknown.append(str(name))
        elif str(name).lower() in rules:
            faults[str(name)] = "stands twice, in other letters"
        else:
            try:
                rules[str(name).lower()] = tuple(_ordered(_rules(key, value)))
            except InvalidArgument as error:
                faults[str(name)] = error.message
    return Parsed(rules, faults, unknown)


def _ordered(rules: list[Rule]) -> list[Rule]:
    """The one that holds comes last: the most specific, of equals the first."""
    rules.reverse()
    rules.sort(key=lambda rule: rule.rank)
    return rules


def _rules(key: Key, value: object) -> list[Rule]:
    if not isinstance(value, list) or not any(isinstance(entry, dict) and "value" in entry for entry in value):
        return [Rule(key.read(value))]
    rules: list[Rule] = []
    for entry in value:
        if not isinstance(entry, dict) or "value" not in entry or entry.keys() - {"value", "constraints"}:
            raise InvalidArgument("expected a list of objects with value and constraints")
        rules.append(_constrained(key, entry))
    return rules


def _constrained(key: Key, entry: dict[str, object]) -> Rule:
    known = _CONSTRAINTS[key.scope]
    given = entry.get("constraints") or {}
    if not isinstance(given, dict):
        raise InvalidArgument("constraints: expected names with values")
    constraints: dict[str, str] = {}
    for name, value in given.items():
        if str(name).lower() not in known:
            raise InvalidArgument(f"constraints: there is no {name!r} here; its values are for {key.scope.value}")
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value):
            raise InvalidArgument(f"constraints: {name}: expected a text, not {value!r}")
        constraints[str(name).lower()] = str(value)
    task_type = constraints.get("tasktype", "")
    if task_type and task_type.lower() not in _TYPES:
        raise InvalidArgument(f"constraints: expected Workflow or Activity, not {task_type!r}")
    return Rule(
        key.read(entry["value"]),
        constraints.get("namespace", ""),
        constraints.get("taskqueuename", ""),
        _TYPES.get(task_type.lower(), ""),
    )


def checked(values: Mapping[str, object]) -> Parsed:
    """`parse`. Raises InvalidArgument for the first fault."""
    parsed = parse(values)
    for name, fault in parsed.faults.items():
        raise InvalidArgument(f"{name}: {fault}")
    return parsed


def with_parsed(settings: Settings, parsed: Parsed) -> Settings:
    """`settings` with the values set that are for the whole server."""
    return _with(settings, parsed.rules)


def _with(settings: Settings, rules: Mapping[str, tuple[Rule, ...]]) -> Settings:
    changes: dict[str, dict[str, Any]] = {}
    for name, own in rules.items():
        key = KEYS[name]
        for rule in own:
            if not rule.rank:
                value = _gathered((rule,), "") if key.is_gathered else rule.value
                changes.setdefault(key.part, {})[key.field] = value
    own_fields = changes.pop("", {})
    for part, fields in changes.items():
        own_fields[part] = msgspec.structs.replace(getattr(settings, part), **fields)
    return msgspec.structs.replace(settings, **own_fields)
