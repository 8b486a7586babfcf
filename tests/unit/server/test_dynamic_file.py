"""The file of dynamic configuration: what of it is in force, at start and after each change."""

from pathlib import Path

import pytest

from perdure.base.errors import InvalidArgument
from perdure.base.metrics import Metrics
from perdure.server.dynamic import Dynamic
from perdure.server.dynamic_file import PAUSE_S, DynamicFile
from perdure.server.measured import DynamicConfigMeter


class _Watch:
    """A file, what it brings into force, and what is counted of it."""

    def __init__(self, folder: Path, text: str, **values: object) -> None:
        self.path = folder / "dynamic.yaml"
        self.path.write_text(text)
        self.dynamic, self._metrics = Dynamic(), Metrics()
        meter = DynamicConfigMeter(self._metrics)
        named = {name.replace("_", ".", 1): value for name, value in values.items()}
        self.file = DynamicFile(self.dynamic, named, str(self.path), meter)

    async def change(self, text: str) -> None:
        self.path.write_text(text)
        await self.file.look()

    def shows_faults(self) -> bool:
        page = b"".join(self._metrics.page()).decode()
        (line,) = (line for line in page.splitlines() if line.startswith("dynamic_config_faults{"))
        return float(line.rpartition(" ")[2]) > 0


async def test_the_files_values_win_and_those_given_hold_beside_them(tmp_path: Path) -> None:
    watch = _Watch(tmp_path, "LIMIT.maxIDLength: 7", limit_maxIDLength=5, frontend_rps=9)
    await watch.file.start()
    assert (watch.dynamic.of().id_bytes_max, watch.dynamic.of().host_rps) == (7, 9)
    await watch.change("")
    assert (watch.dynamic.of().id_bytes_max, watch.dynamic.of().host_rps) == (5, 9)
    await watch.file.close()


async def test_a_change_of_a_namespace_applies_and_a_bad_value_shows_until_it_is_put_right(tmp_path: Path) -> None:
    watch = _Watch(tmp_path, "")
    await watch.file.start()
    await watch.change("limit.blobSize.error: [{value: 8, constraints: {namespace: a}}]")
    assert (watch.dynamic.of("a").blob_bytes_max, watch.dynamic.of("b").blob_bytes_max) == (8, 2 << 20)
    await watch.change("limit.blobSize.error: many\nfrontend.rps: 3\nfrontend.noSuchThing: 1")
    assert (watch.dynamic.of("a").blob_bytes_max, watch.dynamic.of().host_rps) == (8, 3)
    assert watch.shows_faults()
    await watch.change("limit.blobSize.error: 9")
    assert watch.dynamic.of("a").blob_bytes_max == 9
    assert not watch.shows_faults()
    await watch.file.close()


@pytest.mark.parametrize("text", ["[", "- a", "a: 1\na: 2", "#" * (2 << 20)])
async def test_a_file_that_is_none_changes_nothing(tmp_path: Path, text: str) -> None:
    watch = _Watch(tmp_path, "frontend.rps: 3")
    await watch.file.start()
    await watch.change(text)
    assert watch.dynamic.of().host_rps == 3
    assert watch.shows_faults()
    watch.path.unlink()
    await watch.file.look()
    assert watch.dynamic.of().host_rps == 3
    await watch.change("frontend.rps: 3")
    assert not watch.shows_faults()
    await watch.file.close()


async def test_a_start_needs_a_file_that_can_be_read_and_values_that_fit(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="not a YAML file"):
        await _Watch(tmp_path, "[").file.start()
    with pytest.raises(InvalidArgument, match=r"frontend\.rps: expected"):
        await _Watch(tmp_path, "", frontend_rps="many").file.start()


def test_a_change_applies_within_ten_seconds() -> None:
    assert PAUSE_S < 10
