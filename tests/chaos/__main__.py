"""Chaos on real processes: `python -m tests.chaos --seed 1 --minutes 30`; exit code 1 if a rule was broken.

Two frontends, three histories and two matchings on three Cassandra nodes; orders by the official SDK, errands of the
simulator's parties and starts that nobody waits for at both frontends; and faults drawn from the seed, of the kinds in
tests/chaos/plan.py. Where the machine allows it (root, `ip`, `iptables`) each process is in a network of its own, and
networks are among what fails. Afterwards the checkers of the simulator, and those of histories, judge everything.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Run
from tests.chaos.judging import Outcome
from tests.chaos.layout import Counts, site_of
from tests.chaos.saying import say
from tests.chaos.shop import quiet
from tests.chaos.wires import Wires, WiresMissing


async def run(given: argparse.Namespace, folder: Path) -> Outcome:
    """A cluster, and a run on it; what it came to is told however it ends."""
    missing = Wires.tools_missing()
    if missing and given.apart:
        raise SystemExit(f"--apart: {missing}")
    apart = not missing and not given.together
    try:
        async with site_of(folder, Counts(), apart=apart, rare=True) as site:
            say(f"the cluster serves{', each process in a network of its own' if apart else ''}")
            whole = Run(site, given)
            try:
                return await whole.go()
            finally:
                sys.stdout.write(f"seed {given.seed}\n{whole.outcome.table()}\n")
                sys.stdout.flush()
    except WiresMissing as failed:
        raise SystemExit(f"{failed}; --together does without") from None


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--load", type=int, default=6, help="so many orders and so many errands at a time")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="faults whose names have one of these")
    parser.add_argument("--rate", type=float, default=2.0, help="so many starts a second that nobody repeats")
    networks = parser.add_mutually_exclusive_group()
    networks.add_argument("--apart", action="store_true", help="fail where processes can't have networks of their own")
    networks.add_argument("--together", action="store_true", help="all processes in one network, and no cuts")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where logs are kept")
    given = parser.parse_args()
    quiet()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        outcome = asyncio.run(run(given, folder))
    finally:
        if given.keep is not None:
            shutil.copytree(folder, given.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cassandra"))
        shutil.rmtree(folder, ignore_errors=True)
    raise SystemExit(bool(outcome.wrong))


if __name__ == "__main__":
    main()
