"""compose.yaml, by what its services are given: the program takes the environment, and mounted files are there."""

from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from perdure.server.config import load
from perdure.server.health import health
from perdure.server.main import main
from tests.tidy.sources import ROOT

FOLDER = ROOT / "deploy" / "docker"
ROLES = ("frontend", "history", "matching")


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return found


@pytest.mark.parametrize("role", ROLES)
def test_the_environment_is_a_configuration(services: dict[str, Any], role: str) -> None:
    service = services[role]
    environment = service["environment"]
    config = load(environment["PERDURE_CONFIG"], environment)
    assert config.store.cassandra is not None
    assert config.store.cassandra.contact_points == ["cassandra"]
    assert getattr(config, role).listen == config.metrics.listen == "0.0.0.0"
    assert service["command"] == ["server", "start", "--role", role]
    bound = config.stop.leave + config.stop.drain + config.stop.checkpoint + 11
    assert int(service["stop_grace_period"].removesuffix("s")) > bound


@pytest.mark.parametrize("role", ROLES)
def test_commands_are_the_programs_own(services: dict[str, Any], role: str) -> None:
    asked = services[role]["healthcheck"]["test"]
    assert asked[:3] == ["CMD", "perdure", "health"]
    health.make_context("health", asked[3:])
    command = services[role]["command"]
    assert CliRunner().invoke(main, [*command, "--help"]).exit_code == 0


def test_mounted_files_are_there(services: dict[str, Any]) -> None:
    mounted = [
        volume.partition(":")[0]
        for service in services.values()
        for volume in service.get("volumes", ())
        if volume.startswith(".")
    ]
    assert len(mounted) == 5
    for path in mounted:
        assert (FOLDER / path).exists(), path


def test_metrics_are_asked_where_they_are(services: dict[str, Any]) -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    config = load("/dev/null", services["history"]["environment"])
    assert (found["names"], found["port"]) == (list(ROLES), config.metrics.port)
