"""The configuration: what a file and the environment say together, and how a fault is told."""

from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from perdure.base.clock import SECOND_NS
from perdure.base.errors import InvalidArgument
from perdure.base.files import FILE_BYTES_MAX
from perdure.server.config import Config, load, show, slips, variables
from perdure.server.config_cassandra import CassandraSection, TlsSection
from perdure.server.configured import serving_options
from perdure.server.dynamic import Settings, checked, with_parsed
from perdure.server.main import main
from perdure.server.stores import InCassandra, InFile
from perdure.store.cassandra.options import CassandraOptions, Tls

SAMPLE = Path(__file__).parents[3] / "docs" / "perdure.yaml"
CASSANDRA = "store: {cassandra: {contact_points: [one, two]}}\n"
FILE = "store: {sqlite: {file: perdure.db}}\n"


def _load(folder: Path, text: str, **environment: str) -> Config:
    path = folder / "perdure.yaml"
    path.write_text(text)
    return load(str(path), environment)


def _faults(folder: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(InvalidArgument) as caught:
        serving_options(_load(folder, text, **environment))
    # What was raised while it was looked at may have values in it, which a traceback would show.
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return [line.strip() for line in caught.value.message.splitlines()]


def test_a_store_is_all_that_has_to_be_said(tmp_path: Path) -> None:
    options, unknown = serving_options(_load(tmp_path, FILE))
    assert options.store == InFile("perdure.db")
    assert (options.ip, options.port, options.metrics_port, options.shards) == ("127.0.0.1", 7233, 9090, 16)
    assert [(one.name, one.retention_ns) for one in options.namespaces] == [("default", 72 * 3600 * SECOND_NS)]
    assert options.store_wait_s == 0
    assert not unknown


@pytest.mark.parametrize("text", ["one, two", "[one, two]", '["one", "two"]'])
def test_a_variable_with_a_list(tmp_path: Path, text: str) -> None:
    config = _load(tmp_path, "", PERDURE_STORE__CASSANDRA__CONTACT_POINTS=text)
    assert config.store.cassandra is not None
    assert config.store.cassandra.contact_points == ["one", "two"]


def test_a_variable_with_half_a_list(tmp_path: Path) -> None:
    faults = _faults(tmp_path, "", PERDURE_STORE__CASSANDRA__CONTACT_POINTS="[one, two")
    assert "PERDURE_STORE__CASSANDRA__CONTACT_POINTS (store.cassandra.contact_points): expected a list" in faults[1]


def test_roles_are_said_by_the_file_the_environment_or_the_command_line(tmp_path: Path) -> None:
    def roles(text: str, *named: str, **environment: str) -> list[str]:
        return [str(role) for role in serving_options(_load(tmp_path, text, **environment), named)[0].roles]

    everything = ["frontend", "history", "matching"]
    assert roles(CASSANDRA) == roles(FILE) == roles(FILE, *everything) == everything
    assert roles(CASSANDRA + "roles: [matching, history]") == ["history", "matching"]
    assert roles(CASSANDRA, PERDURE_ROLES="frontend, matching") == ["frontend", "matching"]
    assert roles(CASSANDRA, PERDURE_ROLES="[frontend, matching]") == ["frontend", "matching"]
    assert roles(CASSANDRA, "history", PERDURE_ROLES="frontend") == ["history"]
    assert roles(CASSANDRA, "all", PERDURE_ROLES="frontend") == everything
    with pytest.raises(InvalidArgument, match="a store in a file is for one process"):
        roles(FILE, "history")


def test_listeners_of_roles_have_their_known_ports(tmp_path: Path) -> None:
    options, _ = serving_options(_load(tmp_path, CASSANDRA + "history: {listen: 0.0.0.0}"))
    assert (options.history.ip, options.history.port) == ("0.0.0.0", 7234)
    assert (options.matching.ip, options.matching.port) == ("127.0.0.1", 7235)


def test_cassandra_has_the_defaults_of_its_adapter(tmp_path: Path) -> None:
    options, _ = serving_options(_load(tmp_path, CASSANDRA))
    assert options.store == InCassandra(CassandraOptions(contact_points=("one", "two")), is_dev=False)


def test_every_option_of_the_adapter_has_a_key() -> None:
    def names(options: type[msgspec.Struct]) -> set[str]:
        return {name.removesuffix("_s") for name in options.__struct_fields__}

    # How long to wait at start is asked of every store.
    assert names(CassandraOptions) - {"connect_wait"} | {"password_file"} == set(CassandraSection.model_fields)
    assert names(Tls) == set(TlsSection.model_fields)


def test_every_value_can_be_said_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    values = {
        "PERDURE_STORE__CASSANDRA__CONTACT_POINTS": "three, four",
        "PERDURE_STORE__CASSANDRA__PORT": "9142",
        "PERDURE_STORE__CASSANDRA__USER": "u",
        "PERDURE_STORE__CASSANDRA__PASSWORD": "0123",
        "PERDURE_STORE__CASSANDRA__TLS__CA": str(tmp_path / "ca.pem"),
        "PERDURE_STORE__CASSANDRA__TLS__VERIFY": "False",
        "PERDURE_STORE__CASSANDRA__CONDITIONAL_TIMEOUT": "1.5",
        "PERDURE_START__STORE_WAIT": "2m",
        "PERDURE_HISTORY__SHARDS": "64",
        "PERDURE_NAMESPACES": "[{name: one, retention: 1d, search_attributes: {Kind: Keyword}}]",
        "PERDURE_DYNAMIC__VALUES": '{"limit.maxIDLength": 500}',
        "PERDURE_LOG__LEVEL": "",
    }
    options, _ = serving_options(_load(tmp_path, CASSANDRA, **values))
    assert options.store == InCassandra(
        CassandraOptions(
            contact_points=("three", "four"),
            port=9142,
            user="u",
            password="0123",
            tls=Tls(ca=str(tmp_path / "ca.pem"), verify=False),
            conditional_timeout_s=1.5,
            connect_wait_s=120,
        ),
        is_dev=False,
    )
    assert options.shards == 64
    assert [(one.name, one.search_attributes) for one in options.namespaces] == [("one", {"Kind": 2})]
    assert options.dynamic == {"limit.maxIDLength": 500}
    assert {name for name, _ in variables()} >= values.keys()


def test_a_password_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("pa ss\n")
    text = f"store: {{cassandra: {{contact_points: one, user: u, password_file: {tmp_path / 'secret'}}}}}"
    options, _ = serving_options(_load(tmp_path, text))
    assert isinstance(options.store, InCassandra)
    assert options.store.options.password == "pa ss"
    (tmp_path / "secret").write_text("\n")
    assert "password_file" in _faults(tmp_path, text)[0]


def test_what_is_secret_is_shown_as_stars(tmp_path: Path) -> None:
    config = _load(
        tmp_path, CASSANDRA, PERDURE_STORE__CASSANDRA__PASSWORD="hunter2", PERDURE_STORE__CASSANDRA__USER="u"
    )
    told = show(config) + repr(config) + str(serving_options(config)[0].store)
    assert "hunter2" not in told
    assert yaml.safe_load(show(config))["store"]["cassandra"]["password"] == "**********"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "store: is missing"),
        ("store: {}", "store: expected either cassandra or sqlite"),
        ("store: {memory: {}}", "store.memory: there is no such key"),
        ("store: {sqlite: {file: ':memory:'}}", "store: sqlite: a server keeps its data"),
        ("store: {sqlite: {file: a}, cassandra: {contact_points: b}}", "store: expected either cassandra or sqlite"),
        ("store: {cassandra: {}}", "store.cassandra.contact_points: is missing"),
        ("store: {cassandra: {contact_points: []}}", "store.cassandra.contact_points: expected a list of texts"),
        ("store: {cassandra: {contact_points: a, user: u}}", "user and password belong together"),
        ("store: {cassandra: {contact_points: a, tls: {ca: /no/such}}}", "store.cassandra.tls.ca: expected a file"),
        ("store: {cassandra: {contact_points: a, tls: {cert: /dev/null}}}", "store.cassandra.tls: cert and key"),
        ("store: {cassandra: {contact_points: a, consistency: ONE}}", "store.cassandra.consistency: expected"),
        ("store: {cassandra: {contact_points: a, replication: 0}}", "store.cassandra.replication: expected a whole"),
        ("store: {cassandra: {contact_points: a, keyspace: Per-dure}}", "store.cassandra.keyspace: "),
        ("store: {cassandra: {contact_points: a, consistency: QUORUM}}", "store.cassandra."),
        (FILE + "frontend: {port: 65536}", "frontend.port: expected a whole number from 0 to 65535, not 65536"),
        (FILE + "frontend: {port: yes}", "frontend.port: expected a whole number from 0 to 65535, not True"),
        (FILE + "frontend: {prot: 1}", "frontend.prot: there is no such key; did you mean port?"),
        (FILE + "frontend: 7233", "frontend: expected keys with values"),
        (FILE + "history: {shards: 0}", "history.shards: expected a whole number from 1"),
        (FILE + "log: {level: loud}", "log.level: expected 'debug'"),
        (FILE + "start: {store_wait: soon}", "start.store_wait: expected a duration such as 10s"),
        (FILE + "stop: {drain: -1s}", "stop.drain: expected a duration such as 10s"),
        (FILE + "namespaces: default", "namespaces: expected a list"),
        (FILE + "namespaces: [{name: a, retention: 1m}]", "namespaces.0.retention: expected a duration such as 10s"),
        (FILE + "namespaces: [{name: a}, {name: a}]", "namespaces: a stands twice"),
        (
            FILE + "namespaces: [{name: a, search_attributes: {K: Colour}}]",
            "namespaces, a: expected a name, and a type",
        ),
        (FILE + "dynamic: {limit.blobSize.error: ten}", "limit.blobSize.error: expected a whole number"),
        (FILE + "dynamic: {frontend.rps: [{value: 1, constraints: {namespace: a}}]}", "its values are for the server"),
        (FILE + "dynamic: {file: /no/such}", "dynamic.file: expected a file that can be read"),
        (FILE + "roles: [worker]", "roles.0: expected 'frontend'"),
        (FILE + "roles: [history]", "roles: expected all of them: a store in a file is for one process"),
        (FILE + "log:\n  level: info\n  level: warn", "the key level stands twice"),
        (FILE + "log: [", "not a YAML file"),
        ("[" * 3000, "nested too deeply"),
        ("- store", "expected keys with values"),
        ("\x00", "not a YAML file"),
    ],
)
def test_a_fault_names_the_key_and_what_was_expected(tmp_path: Path, text: str, fault: str) -> None:
    assert any(fault in line for line in _faults(tmp_path, text)), _faults(tmp_path, text)


def test_all_faults_are_told_at_once_and_by_the_name_of_the_variable(tmp_path: Path) -> None:
    told = _faults(
        tmp_path,
        FILE + "frontend: {port: x}\nmetrics: {port: y}",
        PERDURE_FRONTEND__PORT="z",
        PERDURE_LOG__LEVL="info",
    )
    assert any(line.startswith("PERDURE_FRONTEND__PORT (frontend.port): expected") for line in told)
    assert any(line.startswith("metrics.port: expected") for line in told)
    assert "PERDURE_LOG__LEVL: there is no such key; did you mean PERDURE_LOG__LEVEL?" in told


def test_variables_that_an_orchestrator_makes_are_none_of_ours(tmp_path: Path) -> None:
    config = _load(tmp_path, FILE, PERDURE_FRONTEND_PORT="tcp://10.0.0.1:7233", PERDURE_SERVICE_HOST="10.0.0.1")
    assert config.frontend.port == 7233


@pytest.mark.parametrize("password", ["hunter2 is {no: yaml", "[hunter2", "hunter2: hunter2"])
def test_no_fault_shows_a_password(tmp_path: Path, password: str) -> None:
    texts = (
        f"store: {{cassandra: {{contact_points: a, password: {password}\n",
        f"store: {{cassandra: {{contact_points: a, user: u, password: {{a: {password!r}}}}}}}",
        f"store: {{cassandra: {{contact_points: 7, password: {password!r}}}}}",
        f"store: {{cassandra: {password!r}}}",
        f"store: {{cassandra: {{contact_points: a, user: u, tls: {{key: {password!r}}}}}, sqlite: 1}}",
    )
    for text in texts[:-1]:
        assert "hunter2" not in "\n".join(_faults(tmp_path, text))
    assert "hunter2" in "\n".join(_faults(tmp_path, texts[-1])), "this test would not find out"


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"no\.yaml: No such file"):
        load(str(tmp_path / "no.yaml"), {})
    with pytest.raises(InvalidArgument, match="Is a directory"):
        load(str(tmp_path), {})
    (tmp_path / "large").write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(InvalidArgument, match="larger than 1 MiB"):
        load(str(tmp_path / "large"), {})
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidArgument, match="not a YAML file"):
        load(str(tmp_path / "bytes"), {})


def test_a_dynamic_value_may_be_written_as_for_other_servers(tmp_path: Path) -> None:
    text = FILE + (
        "dynamic:\n  limit.maxIDLength: [{value: 50, constraints: {}}]\n  no.such.key: 1\n"
        "  callback.allowedAddresses: [{Pattern: '*', AllowInsecure: true}]\n"
    )
    options, unknown = serving_options(_load(tmp_path, text))
    limits = with_parsed(Settings(), checked(options.dynamic)).limits
    assert limits.id_bytes_max == 50
    assert len(limits.callback_addresses) == 1
    assert unknown == ["no.such.key"]


def test_a_slip_in_the_environment_is_told_and_what_orchestrators_make_is_not(tmp_path: Path) -> None:
    def told(**environment: str) -> list[str]:
        _load(tmp_path, FILE, **environment)
        return list(slips(environment))

    assert told(PERDURE_ROLE="history") == ["PERDURE_ROLE: sets nothing; did you mean PERDURE_ROLES?"]
    (level,) = told(PERDURE_LOG_LEVEL="debug")
    assert level.endswith("did you mean PERDURE_LOG__LEVEL?")
    assert told(PERDURE_STORE_CASSANDRA_PASSWORD="0123") == [
        "PERDURE_STORE_CASSANDRA_PASSWORD: sets nothing; did you mean PERDURE_STORE__CASSANDRA__PASSWORD?"
    ]
    # Of Kubernetes, for a service called perdure-frontend.
    made = {
        "PERDURE_FRONTEND_SERVICE_HOST": "10.0.0.1",
        "PERDURE_FRONTEND_SERVICE_PORT": "7233",
        "PERDURE_FRONTEND_SERVICE_PORT_GRPC": "7233",
        "PERDURE_FRONTEND_PORT": "tcp://10.0.0.1:7233",
        "PERDURE_FRONTEND_PORT_7233_TCP": "tcp://10.0.0.1:7233",
        "PERDURE_FRONTEND_PORT_7233_TCP_ADDR": "10.0.0.1",
        "PERDURE_FRONTEND_PORT_7233_TCP_PORT": "7233",
        "PERDURE_FRONTEND_PORT_7233_TCP_PROTO": "tcp",
    }
    assert told(PERDURE_CONFIG="a.yaml", PERDURE_STORE="memory:", PERDURE_ROLE="", **made) == []


def test_a_check_says_what_has_no_effect_and_why(tmp_path: Path) -> None:
    path = tmp_path / "perdure.yaml"
    keys = "history.persistencemaxqps: 9, frontend.rsp: 3, no.such.key: 1"
    path.write_text(f"{FILE}dynamic: {{{keys}}}\n")
    checked = CliRunner().invoke(main, ["config", "check", "--config", str(path)], env={"PERDURE_ROLE": "history"})
    assert checked.exit_code == 0
    qps, rate, other, slip, _ = checked.output.splitlines()
    assert qps.startswith("dynamic.history.persistencemaxqps: has no effect here: requests to the store")
    assert rate == "dynamic.frontend.rsp: not known here, and without effect; did you mean frontend.rps?"
    assert other == "dynamic.no.such.key: not known here, and without effect"
    assert slip == "PERDURE_ROLE: sets nothing; did you mean PERDURE_ROLES?"


def test_rules_for_certificates_need_clients_that_show_one(tmp_path: Path) -> None:
    for name in ("cert", "key", "ca"):
        (tmp_path / name).touch()
    text = FILE + 'auth: {certificates: [{name: "cn:a", permissions: ["default:read"]}]}\n'
    listener = f"tls: {{frontend: {{certificate: {tmp_path}/cert, key: {tmp_path}/key"
    assert "auth.certificates: expected tls.frontend.client_authority" in _faults(tmp_path, text)[1]
    assert "auth.certificates: expected tls.frontend.client_authority" in _faults(tmp_path, text + listener + "}}")[1]
    assert _load(tmp_path, text + f"{listener}, client_authority: {tmp_path}/ca}}}}").auth is not None


def test_the_sample_of_the_docs_can_be_used_and_shows_every_key(tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    for part in ("password", "ca", "cert", "key", "dynamic.yaml"):
        (tmp_path / part).write_text("" if part.endswith("yaml") else part)
    text = text.replace("/etc/perdure", str(tmp_path))
    options, unknown = serving_options(_load(tmp_path, text))
    assert isinstance(options.store, InCassandra)
    assert not unknown
    told = yaml.safe_load(text)
    absent = [".".join(keys) for _, keys in variables() if not _said(told, keys)]
    # One of two, each.
    assert absent == ["store.cassandra.password", "store.sqlite.file"]


def _said(values: object, keys: tuple[str, ...]) -> bool:
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True
