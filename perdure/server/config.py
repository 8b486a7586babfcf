"""The configuration of a server: one YAML file, each value of which a variable of the environment can set instead.

`PERDURE_STORE__CASSANDRA__PASSWORD` is `store.cassandra.password`: two underscores lead into a section. Invariant: an
unknown key is refused, not skipped; every fault is named with its key and what was expected, all of them at once; what
is secret is in no error, no log and no output. Refuses to know how a server uses it.
"""

import difflib
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from perdure.base.errors import InvalidArgument
from perdure.base.files import read_file
from perdure.server.config_cassandra import CassandraSection
from perdure.server.config_fields import (
    A_LIST,
    KEYS_AND_VALUES,
    File,
    Flag,
    Port,
    Section,
    Text,
    seconds,
    shown,
    split,
    whole,
)
from perdure.server.config_security import AuditSection, AuthSection, TlsSection
from perdure.server.config_telemetry import TelemetrySection
from perdure.server.yaml_files import parse_yaml

PREFIX = "PERDURE_"
# What an orchestrator makes of a service's name has its address.
_MADE = ("tcp://", "udp://", "sctp://")
RoleName = Literal["frontend", "history", "matching", "all"]
ROLES = split("frontend, history, matching, all")
_DAY_S = 86_400.0
_YEARS_S = 100 * 365 * _DAY_S


class SqliteSection(Section):
    """A store in one file, for one process."""

    file: Text


class StoreSection(Section):
    """Where the data is: exactly one of these."""

    cassandra: CassandraSection | None = None
    sqlite: SqliteSection | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "StoreSection":
        if (self.cassandra is None) == (self.sqlite is None):
            raise ValueError("expected either cassandra or sqlite (a store in memory is for `perdure dev`)")
        if self.sqlite is not None and self.sqlite.file == ":memory:":
            raise ValueError("sqlite: a server keeps its data: expected a file (`perdure dev` can do without)")
        return self


class ClusterSection(Section):
    """`name`: what clients are told. `advertise`: the address at which other hosts reach the roles of this one; left
    out, it is the one they listen on, or, where that is every one, what this machine's name stands for.
    """

    name: Text = "active"
    advertise: Text | None = None


class FrontendSection(Section):
    """Where clients and workers connect."""

    listen: Text = "127.0.0.1"
    port: Port = 7233


class HistorySection(Section):
    """Where other hosts reach this role. `shards`: how many are made in an empty store; the number of a store that has
    some stays as it is, unless `auto_split`: then shards that have too much load are split; or `auto_merge`: then
    neighbours at one host that have little load are merged, down to `shards`.
    """

    listen: Text = "127.0.0.1"
    port: Port = 7234
    shards: Annotated[int, whole(1, 4_096)] = 16
    auto_split: Flag = False
    auto_merge: Flag = False


class MatchingSection(Section):
    """Where other hosts reach this role."""

    listen: Text = "127.0.0.1"
    port: Port = 7235


class MetricsSection(Section):
    """Where Prometheus scrapes."""

    listen: Text = "127.0.0.1"
    port: Port = 9090


class LogSection(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warn", "error", "never"] = "info"
    format: Literal["json", "text"] = "json"


class StartSection(Section):
    """`store_wait`: how long a server waits for a store that can't be reached when it starts, before it gives up."""

    store_wait: Annotated[float, seconds(0, _DAY_S)] = 60.0


class StopSection(Section):
    """`leave`: how long other hosts may take over what this one has, while it serves. `drain`: how long calls that have
    begun may go on then. `checkpoint`: for the last one of shards that nobody took, which shortens the next start.
    """

    leave: Annotated[float, seconds(0, 3_600)] = 15.0
    drain: Annotated[float, seconds(0, 3_600)] = 10.0
    checkpoint: Annotated[float, seconds(0, 3_600)] = 5.0


class NamespaceSection(Section):
    """A namespace that is made if it isn't there; the retention of one that is there stays as it is."""

    name: Text
    retention: Annotated[float, seconds(3_600, _YEARS_S)] = 3 * _DAY_S
    search_attributes: Annotated[dict[str, str], KEYS_AND_VALUES] = Field(default_factory=dict)


def _one_namespace() -> list[NamespaceSection]:
    return [NamespaceSection(name="default")]


def _all() -> list[RoleName]:
    return ["all"]


class DynamicSection(Section):
    """Values by the keys that operators know, docs/configuration.md lists them: in a file that is read again while the
    server runs, and wins, or here. A key here may also stand beside `file`, as each has a dot.
    """

    file: File | None = None
    values: Annotated[dict[str, Any], KEYS_AND_VALUES] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        beside = {name: value for name, value in given.items() if "." in str(name)}
        rest = {name: value for name, value in given.items() if name not in beside}
        if beside and isinstance(rest.get("values", {}), dict):
            rest["values"] = {**rest.get("values", {}), **beside}
        return rest


class Config(Section):
    """The whole of it. `roles`: what this process is; a store in a file is for all of them in one."""

    roles: Annotated[list[RoleName], ROLES] = Field(default_factory=_all)
    store: StoreSection
    frontend: FrontendSection = FrontendSection()
    history: HistorySection = HistorySection()
    matching: MatchingSection = MatchingSection()
    cluster: ClusterSection = ClusterSection()
    tls: TlsSection = TlsSection()
    auth: AuthSection | None = None
    audit: AuditSection = AuditSection()
    metrics: MetricsSection = MetricsSection()
    log: LogSection = LogSection()
    telemetry: TelemetrySection = TelemetrySection()
    start: StartSection = StartSection()
    stop: StopSection = StopSection()
    namespaces: Annotated[list[NamespaceSection], A_LIST] = Field(default_factory=_one_namespace)
    dynamic: DynamicSection = DynamicSection()

    @model_validator(mode="after")
    def _fits_its_store(self) -> "Config":
        if self.store.sqlite is not None and {"all"} != set(self.roles) != {"frontend", "history", "matching"}:
            raise ValueError("roles: expected all of them: a store in a file is for one process")
        return self

    @model_validator(mode="after")
    def _knows_who_shows_a_certificate(self) -> "Config":
        listener = self.tls.frontend
        if self.auth is not None and self.auth.certificates and (listener is None or not listener.client_authority):
            raise ValueError("auth.certificates: expected tls.frontend.client_authority, too: nobody is asked for one")
        return self


def load(path: str, environment: Mapping[str, str]) -> Config:
    """The configuration in a file, with what the environment sets instead. Raises InvalidArgument."""
    values = parse_yaml(path, read_file(path), "store, frontend, log")
    faults: list[str] = []
    places: dict[str, str] = {}
    for variable, keys, value in _set_outside(environment, faults):
        section = values
        for key in keys[:-1]:
            inner = section.get(key)
            if not isinstance(inner, dict):
                inner = section[key] = {}
            section = inner
        section[keys[-1]] = value
        places[".".join(keys)] = variable
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        faults += [_fault(details, places) for details in error.errors(include_url=False)]
    else:
        if not faults:
            return config
    # Without the causes: their texts have values in them.
    raise InvalidArgument("\n  ".join([f"{path} can't be used:", *faults])) from None


def show(config: Config) -> str:
    """The configuration with everything that is set by default, as YAML; what is secret as stars. Times in seconds."""
    return yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


def variables(section: type[BaseModel] = Config, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The variable of each value, and where the value is: (PERDURE_LOG__LEVEL, (log, level))."""
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            yield from variables(inner, (*keys, name))
        else:
            yield PREFIX + "__".join((*keys, name)).upper(), (*keys, name)


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a field of this type is, if it is one."""
    choices = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    for choice in choices:
        if isinstance(choice, type) and issubclass(choice, Section):
            return choice
    return None


def _set_outside(environment: Mapping[str, str], faults: list[str]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Variables that set a value. Of others only those with two underscores can be meant for this program:
    orchestrators make some of their own from the names of services. An empty one sets nothing.
    """
    known = dict(variables())
    for variable, value in sorted(environment.items()):
        if variable in known:
            if value:
                yield variable, known[variable], value
        elif variable.startswith(PREFIX) and "__" in variable:
            faults.append(f"{variable}: there is no such key{_meant(variable, known)}")


def slips(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables without two underscores that set nothing, and look as if they should. They may be somebody else's, so
    that they are no faults.
    """
    known = dict(variables())
    for variable, value in sorted(environment.items()):
        if variable.startswith(PREFIX) and "__" not in variable and variable not in known:
            meant = _meant(variable, known, 0.9)
            if meant and value and not value.startswith(_MADE):
                yield f"{variable}: sets nothing{meant}"


def _meant(name: str, known: Mapping[str, object], likeness: float = 0.7) -> str:
    close = difflib.get_close_matches(name, known, 1, likeness)
    return f"; did you mean {close[0]}?" if close else ""


def _fault(details: ErrorDetails, places: Mapping[str, str]) -> str:
    """`key: what was expected`. Shows no value but those that the fields' own errors show."""
    location = details["loc"]
    key = ".".join(str(part) for part in location)
    name = f"{places[key]} ({key})" if key in places else key
    context = details.get("ctx", {})
    match details["type"]:
        case "value_error":
            text = str(context["error"])
        case "missing":
            text = "is missing"
        case "extra_forbidden":
            known = _known(location[:-1])
            text = f"there is no such key{_meant(str(location[-1]), known)}; known here: {', '.join(known)}"
        case "literal_error":
            text = f"expected {context['expected']}, not {shown(details['input'])}"
        case "model_type" | "model_attributes_type" | "dict_type":
            text = "expected keys with values"
        case _:
            text = details["msg"]
    return f"{name}: {text}" if name else text


def _known(location: tuple[int | str, ...]) -> dict[str, object]:
    """The keys of a section."""
    section: type[BaseModel] = Config
    for part in location:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation
        inner = section_of(annotation) or next(filter(None, map(section_of, get_args(annotation))), None)
        if inner is not None:
            section = inner
    return dict(section.model_fields)
