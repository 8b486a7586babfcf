"""What Cassandra's answers mean in the store's terms (rule L3 of docs/decisions/0010).

Invariant: of a write, only what Cassandra refused before it could do it is definite. All else, the polite errors too,
may have been decided, and may still land.
"""

from perdure.base.errors import PerdureError, StoreUnavailable
from perdure.store.cassandra.statements import Kind, Statement
from perdure.store.contract import OutcomeUnknown


class Refusal(Exception):
    """Cassandra said that the statement is malformed, too large or not allowed: nothing was done."""


class Failure(Exception):
    """Anything else: a time-out, a lost connection, too few replicas, an error of a node."""


class Away(Exception):
    """No node could be reached. One may come up."""


class Denied(Exception):
    """A node did not let this user in."""


class Misfit(Exception):
    """The options don't fit this cluster, whoever waits."""


def meaning(statement: Statement, error: Exception) -> PerdureError:
    """What the caller of the store is told when `statement` ended with `error`."""
    if isinstance(error, Refusal):
        return StoreUnavailable(f"Cassandra refused a statement on {statement.table}: {error}.")
    if statement.kind is Kind.READ or statement.kind is Kind.SETTLED_READ:
        return StoreUnavailable(f"Cassandra could not read {statement.table}: {error}.")
    return OutcomeUnknown(f"Cassandra could not tell whether {statement.table} was written: {error}.")
