"""Leases of a store that one process has to itself: they need not outlast it, so they lie in its memory."""

from perdure.store.contract import LeaseRow


class UnsharedLeases:
    """`perdure.store.contract.LeaseStore` in a dict."""

    def __init__(self) -> None:
        self._rows: dict[str, LeaseRow] = {}

    async def read_lease(self, host: str) -> LeaseRow | None:
        return self._rows.get(host)

    async def replace_lease(self, row: LeaseRow) -> bool:
        found = self._rows.get(row.host)
        if row.version != (0 if found is None else found.version + 1):
            return False
        self._rows[row.host] = row
        return True

    async def remove_lease(self, host: str, version: int) -> bool:
        found = self._rows.get(host)
        if found is None or found.version != version:
            return False
        del self._rows[host]
        return True
