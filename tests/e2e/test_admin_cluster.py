"""`perdure admin` on processes of their own: the ring, and shards that are moved, split and merged."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.cassandra.fixtures import Keyspace
from tests.e2e.clusters import cluster_of
from tests.e2e.test_admin import admin

pytestmark = pytest.mark.slow


async def _told(address: str, *arguments: str) -> Any:
    code, output = await admin(*arguments, "--address", address, "-o", "json")
    assert code == 0, output
    return orjson.loads(output)


async def _settled(address: str) -> list[dict[str, Any]]:
    """The shards, once each serves at its owner and nobody else is handing it on. On a busy machine that takes time
    after a process says that it serves, after a shard was moved, and after a split.
    """
    async with asyncio.timeout(60):
        while True:
            shards: list[dict[str, Any]] = (await _told(address, "shards"))["shards"]
            if all(
                [(said["host"], said["state"]) for said in shard["hosts"]] == [(shard["owner"], "serving")]
                for shard in shards
            ):
                return shards


@pytest.mark.timeout(180)
async def test_shards_are_split_moved_and_merged_among_hosts(keyspace: Keyspace, tmp_path: Path) -> None:
    settings: dict[str, object] = {"history": {"shards": 4}}
    async with cluster_of(keyspace, tmp_path, settings=settings, all=1, history=1) as cluster:
        (at,) = cluster.frontends
        members = (await _told(at, "ring"))["members"]
        assert sorted(member["roles"] for member in members) == [["frontend", "history", "matching"], ["history"]]
        hosts = [member["host"] for member in members if "history" in member["roles"]]
        shards = await _settled(at)
        assert [shard["state"] for shard in shards] == ["serving"] * 4
        # To the other host, whichever has it.
        first = shards[0]
        (other,) = [host for host in hosts if host != first["owner"]]
        assert (await _told(at, "shard", "move", first["shard"], "--host", other))["served"]
        now = (await _settled(at))[0]
        assert (now["shard"], now["owner"]) == (first["shard"], other)
        assert (await _told(at, "ring"))["pins"] == {first["shard"]: other}
        created = (await _told(at, "shard", "split", first["shard"]))["created"]
        assert (await _told(at, "ring"))["pins"] == {}
        after = await _settled(at)
        assert [shard["shard"] for shard in after] == [*created, *(shard["shard"] for shard in shards[1:])]
        # Neighbours that didn't come of a split just now: one host gets both first.
        (merged,) = (await _told(at, "shard", "merge", shards[2]["shard"], shards[3]["shard"]))["created"]
        after = (await _told(at, "shards"))["shards"]
        assert [shard["shard"] for shard in after] == [*created, shards[1]["shard"], merged]
        found = ["shard_in_recovery"]  # the merged one may still be on its way to its owner
        async with asyncio.timeout(30):
            while found == ["shard_in_recovery"]:
                found = [reason["kind"] for reason in (await _told(at, "diagnose", "none"))["reasons"]]
        assert found == ["not_found"]
