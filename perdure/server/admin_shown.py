"""What the admin service answers, as text for people. Pure."""

import textwrap
from collections.abc import Sequence
from typing import Any

_WIDTH = 100


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they need to be."""
    texts = [list(heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in texts) for at in range(len(heads))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in texts)
    return "\n".join(line.rstrip() for line in lines)


def age(seconds: float) -> str:
    """As people say it: `90 s`, `12 min`, `5 h`, `3 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:g} {unit}"
    return f"{seconds:.3g} s"


def ring(found: dict[str, Any]) -> str:
    """The members, and the pins."""
    rows = []
    for member in found["members"]:
        marks = [mark for mark in ("suspect", "self") if member[mark]]
        places = [f"{role}={at}" if at else role for role, at in sorted(member["addresses"].items())]
        rows.append(
            (
                member["host"],
                member["name"],
                member["state"] + (f" ({', '.join(marks)})" if marks else ""),
                age(member["age_s"]),
                member["release"],
                "yes" if member["tls"] else "no",
                " ".join(places),
            )
        )
    text = table(("HOST", "NAME", "STATE", "AGE", "RELEASE", "TLS", "ROLES"), rows)
    pins = [f"pinned: shard {shard} to {host}" for shard, host in sorted(found["pins"].items())]
    return "\n".join([f"view {found['version']}, {len(rows)} members", text, *pins])


def shards(found: dict[str, Any]) -> str:
    """The shards by their slots, and the hosts that don't answer."""
    rows = []
    for shard in found["shards"]:
        said = [each for each in shard["hosts"] if each["state"] == shard["state"]]
        one = said[0] if said else None
        others = [f"{each['host']}: {each['state']}" for each in shard["hosts"] if each is not one]
        rows.append(
            (
                shard["shard"],
                f"{shard['first_slot']}-{shard['end_slot'] - 1}",
                shard["state"],
                (one["host"] if one else shard["owner"]) + (" (pinned)" if shard["pinned"] else ""),
                one["epoch"] if one else "",
                f"{one['tail_bytes']:,}" if one else "",
                "; ".join(([one["reason"]] if one and one["reason"] else []) + others),
            )
        )
    text = table(("SHARD", "SLOTS", "STATE", "HOST", "EPOCH", "LOG BYTES", "REMARKS"), rows)
    silent = [
        f"no answer from {host['host']} {host['name']}: {host['error']}" for host in found["hosts"] if host["error"]
    ]
    return "\n".join([f"map {found['version']}, {len(rows)} shards", text, *silent])


def queues(found: dict[str, Any]) -> str:
    """The partitions, and who polls them."""
    blocks = []
    for part in found["partitions"]:
        head = f"{part['queue']} ({part['type']}) at {part['host'] or 'no host'} {part['host_name']}".rstrip()
        if part["error"]:
            blocks.append(f"{head}: {part['error']}")
            continue
        limit = "none" if part["rate_limit"] is None else f"{part['rate_limit']:g}/s"
        held = ", tasks are held back by it" if part["held_back"] else ""
        rates = f"added {part['add_rate']:g}/s, dispatched {part['dispatch_rate']:g}/s"
        backlog = f"backlog {part['backlog_count']}, oldest {age(part['backlog_age_s'])}"
        lines = [head, f"  {backlog}; {rates}; limit {limit}{held}"]
        lines += [f"  poller {each['identity']}, seen {age(each['last_access_s'])} ago" for each in part["pollers"]]
        if not part["pollers"]:
            lines.append("  nobody polls it")
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def tasks(found: dict[str, Any]) -> str:
    """The tasks in their order."""
    rows = [
        (
            task["type"],
            task["workflow_id"],
            task["run_id"],
            task["scheduled_event_id"],
            task["attempt"],
            task["priority"],
            age(task["age_s"]),
        )
        for task in found["tasks"]
    ]
    lines = [f"{found['count']} wait, {len(rows)} shown"]
    if rows:
        lines.append(table(("TYPE", "WORKFLOW", "RUN", "EVENT", "ATTEMPT", "PRIORITY", "AGE"), rows))
    lines += [f"no answer from shard {shard}: {error}" for shard, error in sorted(found["unreachable"].items())]
    return "\n".join(lines)


def diagnosis(found: dict[str, Any]) -> str:
    """The reasons, each with what to do."""
    where = f"shard {found['shard'] or 'unknown'} at {found['host'] or 'no host'}"
    lines = [f"{found['workflow_id']} in {found['namespace']}, run {found['run_id'] or 'unknown'}, {where}"]
    for number, reason in enumerate(found["reasons"], 1):
        lines += textwrap.wrap(f"{number}. {reason['text']}", _WIDTH, subsequent_indent="   ")
        if reason["todo"]:
            lines += textwrap.wrap(reason["todo"], _WIDTH, initial_indent="   -> ", subsequent_indent="      ")
    return "\n".join(lines)


def reshaped(found: dict[str, Any]) -> str:
    """What was made of what."""
    return f"{', '.join(found['retired'])} -> {', '.join(found['created'])}"


def moved(found: dict[str, Any]) -> str:
    """Where a shard is now."""
    state = "serves" if found["served"] else "does not serve yet"
    return f"shard {found['shard']} {state} at {found['host']}"
