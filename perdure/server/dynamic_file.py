"""The file of dynamic configuration: read at start, looked at again every few seconds while the server runs.

Invariant: a file that can't be read, or is no YAML, changes nothing; a value that its key can't have changes nothing of
that key. Both show in a gauge until they are put right. A file's values win over those of the configuration. The disk
is waited for off the loop.
"""

import asyncio
from collections.abc import Mapping

import structlog

from perdure.base.errors import InvalidArgument
from perdure.base.files import read_file
from perdure.base.tasks import Background
from perdure.server.dynamic import Dynamic, checked, parse
from perdure.server.dynamic_keys import KEYS, without_effect
from perdure.server.measured import DynamicConfigMeter
from perdure.server.yaml_files import parse_yaml

log = structlog.get_logger(__name__)
# Well within the ten seconds in which a change has to apply.
PAUSE_S = 4.0


class DynamicFile:
    """Brings what `path` says into `dynamic`; "" = no file, only the values that are given."""

    def __init__(self, dynamic: Dynamic, values: Mapping[str, object], path: str, meter: DynamicConfigMeter) -> None:
        self._dynamic = dynamic
        self._values = dict(values)
        self._path = path
        self._body: bytes | None = None
        self._is_started = False
        self._told: set[str] = set()
        self._meter = meter
        self._background = Background(_stopped)

    async def start(self) -> None:
        """Put in force what is there now, and look for changes from now on. Raises InvalidArgument if the file can't be
        read, or a given value is none of its key.
        """
        checked(self._values)
        if not self._path:
            self._apply(self._values)
            return
        self._take(await asyncio.to_thread(read_file, self._path))
        self._is_started = True
        self._background.spawn(self._watch(), "dynamic configuration")

    async def close(self) -> None:
        """Look no more."""
        await self._background.close()

    async def look(self) -> None:
        """Read the file, and take what has changed."""
        try:
            body = await asyncio.to_thread(read_file, self._path)
            if body != self._body:
                self._take(body)
        except InvalidArgument as error:
            self._body = None  # what comes next is news, be it as before
            self._tell(error.message, "the dynamic configuration can't be read; the former one holds")
            self._meter.read(1)

    def _take(self, body: bytes) -> None:
        found = parse_yaml(self._path, body, "limit.blobSize.error")
        names = {str(name).lower() for name in found}
        self._apply({**{name: value for name, value in self._values.items() if name.lower() not in names}, **found})
        self._body = body

    def _apply(self, values: Mapping[str, object]) -> None:
        parsed = parse(values)
        changed = self._dynamic.apply(parsed)
        self._meter.read(len(parsed.faults))
        for name in parsed.unknown:
            self._tell(name, "this configuration key has no effect", key=name, why=without_effect(name))
        for name, fault in parsed.faults.items():
            log.error("this value can't be used; the former one holds", key=name, fault=fault)
        if changed and self._is_started:
            later = [name for name in changed if not KEYS[name.lower()].is_live]
            log.info("dynamic configuration", changed=changed, **({"at_next_start": later} if later else {}))

    def _tell(self, what: str, text: str, **more: str) -> None:
        """Warn once of each thing."""
        if what not in self._told:
            self._told.add(what)
            log.warning(text, **(more or {"error": what}))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_S)
            await self.look()


def _stopped(error: BaseException) -> None:
    log.error("the dynamic configuration is not looked at any more", exc_info=error)
