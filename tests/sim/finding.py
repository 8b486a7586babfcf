"""Write `found.json`: `python -m tests.sim.finding`, or with the names of the bugs that alone are looked for."""

import argparse
import importlib
import sys
from pathlib import Path

import orjson
import pytest

from tests.sim.planting import FOUND, SEEDS, must_be_found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.sim.finding", description=__doc__)
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    for path in sorted(Path(__file__).parent.glob("test_planted_*.py")):
        module = importlib.import_module(f"tests.sim.{path.stem}")
        for rules, plant in module.PLANTS.all:
            if names and plant.__name__ not in names:
                continue
            with pytest.MonkeyPatch.context() as patch:
                plant(patch)
                seed = must_be_found(rules, getattr(module, "_SEEDS", SEEDS))
            known = orjson.loads(FOUND.read_bytes()) | {plant.__name__: seed}
            FOUND.write_bytes(orjson.dumps(known, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
            sys.stdout.write(f"{plant.__name__} {seed}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
