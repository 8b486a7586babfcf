"""The chart by helm's own rules, by its unit tests, and by what the program takes of what it renders."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from perdure.server.config import load
from tests.deploy.chart import CHART, of_kind, rendered, run, tool
from tests.tidy.sources import ROOT

VALUES = CHART / "tests" / "values"
LEAST, EVERYTHING = VALUES / "least.yaml", VALUES / "everything.yaml"
ROLES = ("frontend", "history", "matching")


def test_it_is_of_the_programs_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]


@pytest.mark.parametrize("values", [LEAST, EVERYTHING], ids=["least", "everything"])
def test_it_is_clean(values: Path) -> None:
    run(tool("helm"), "lint", "--strict", CHART, "--values", values)


def test_its_switches() -> None:
    output = run(tool("helm-unittest"), "--strict", CHART)
    assert "0 passed" not in output.partition("Snapshot")[0]


def test_a_chart_that_is_packed_renders_the_same(tmp_path: Path) -> None:
    """What .helmignore leaves out is not what it needs."""
    run(tool("helm"), "package", CHART, "--destination", tmp_path)
    (packed,) = tmp_path.glob("*.tgz")
    assert run(tool("helm"), "template", packed, "--values", EVERYTHING) == run(
        tool("helm"), "template", CHART, "--values", EVERYTHING
    )


def _config(manifests: list[dict[str, Any]], files: Path) -> Path:
    """The rendered configuration, with each file that it names beside it."""
    text = of_kind(manifests, "ConfigMap")["prod-perdure-config"]["data"]["perdure.yaml"]
    for path in set(re.findall(r"/etc/perdure/(\S+)", text)):
        (files / path).parent.mkdir(parents=True, exist_ok=True)
        (files / path).write_text("x\n")
    found = files / "perdure.yaml"
    found.write_text(text.replace("/etc/perdure", str(files)))
    return found


@pytest.mark.parametrize("values", [LEAST, EVERYTHING], ids=["least", "everything"])
def test_the_program_takes_its_configuration(values: Path, tmp_path: Path) -> None:
    manifests = rendered("--values", values)
    for role in ROLES:
        pod = of_kind(manifests, "Deployment")[f"prod-perdure-{role}"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        given = {entry["name"]: entry.get("value", "10.1.2.3") for entry in container["env"]}
        config = load(str(_config(manifests, tmp_path)), given)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        listener = getattr(config, role)
        assert (listener.listen, listener.port) == ("0.0.0.0", ports["rpc"])
        assert config.metrics.port == ports["metrics"]
        assert config.cluster.advertise == "10.1.2.3"
        bound = config.stop.leave + config.stop.drain + config.stop.checkpoint + 11
        assert pod["terminationGracePeriodSeconds"] > bound
        assert container["startupProbe"]["failureThreshold"] * 2 > config.start.store_wait


def test_what_it_mounts_is_what_it_names() -> None:
    """Every file of the configuration is in a mounted Secret or ConfigMap."""
    manifests = rendered("--values", EVERYTHING)
    text = of_kind(manifests, "ConfigMap")["prod-perdure-config"]["data"]["perdure.yaml"]
    pod = of_kind(manifests, "Deployment")["prod-perdure-history"]["spec"]["template"]["spec"]
    places = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    present = {
        f"{places[volume['name']]}/{item['path']}"
        for volume in pod["volumes"]
        for item in volume.get("secret", {}).get("items", ())
    }
    named = set(re.findall(r"/etc/perdure/secrets/\S+", text))
    assert named == present
    assert len(named) == 11


def test_nothing_waits_for_a_hook() -> None:
    manifests = rendered("--values", EVERYTHING)
    hooked = {
        found["metadata"]["annotations"]["helm.sh/hook"]
        for found in manifests
        if "helm.sh/hook" in found["metadata"].get("annotations", {})
    }
    assert hooked == {"test"}
    assert not of_kind(manifests, "Job")


def test_only_a_change_of_the_configuration_rolls_pods() -> None:
    def checksum(*arguments: str) -> set[str]:
        deployments = of_kind(rendered("--values", LEAST, *arguments), "Deployment").values()
        return {found["spec"]["template"]["metadata"]["annotations"]["checksum/config"] for found in deployments}

    usual = checksum()
    assert checksum("--set", "server.dynamicConfig.frontend\\.rps=7") == usual
    assert checksum("--set", "server.replicaCount=7") == usual
    assert checksum("--set", "server.config.log.level=debug").isdisjoint(usual)
