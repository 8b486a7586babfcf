"""Deterministic workflow programs: given a history, the commands that come next.

A program is a list of steps, given to its workflow as input. Invariant: what it wants depends on the history alone and
only grows with it, so a worker may replay it from the beginning at every task. Whatever a history holds that its
program never wanted is a fault of the server, and said so.
"""

from perdure.testing.programs.facts import Facts
from perdure.testing.programs.steps import (
    ActivityStep,
    CallStep,
    ChildStep,
    ContinueStep,
    MarkerStep,
    Program,
    RaceStep,
    SignalStep,
    Step,
    TimerStep,
    activity_step,
    draw_program,
    payloads,
    program_input,
    program_of,
)
from perdure.testing.programs.updates import REJECTED, answers, carrying
from perdure.testing.programs.walk import Wants, next_commands

__all__ = [
    "REJECTED",
    "ActivityStep",
    "CallStep",
    "ChildStep",
    "ContinueStep",
    "Facts",
    "MarkerStep",
    "Program",
    "RaceStep",
    "SignalStep",
    "Step",
    "TimerStep",
    "Wants",
    "activity_step",
    "answers",
    "carrying",
    "draw_program",
    "next_commands",
    "payloads",
    "program_input",
    "program_of",
]
