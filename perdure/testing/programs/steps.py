"""The steps of a program, and drawing programs by chance.

Invariant: a program ends by itself if its signals come: whatever waits for something waits for what must come. So a
child that may outlive its parent waits for no signals, nor does one that begins anew (a signal is taken by one run).
"""

import msgspec
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import ParentClosePolicy

from perdure.testing.entropy import SeededEntropy

_ABANDON = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON
_POLICIES = (
    ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE,
    ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
    _ABANDON,
)


class ActivityStep(msgspec.Struct, frozen=True, tag="activity"):
    """`fails`: attempts that fail before one succeeds. `hangs`: the attempt that is never answered, 0 = none.

    `beats`: heartbeats per attempt. `work_ms`: how long an attempt takes. `attempts`: at most, 0 = any number.
    `width`: so many at once.
    """

    fails: int = 0
    hangs: int = 0
    beats: int = 0
    work_ms: int = 100
    attempts: int = 0
    width: int = 1


class TimerStep(msgspec.Struct, frozen=True, tag="timer"):
    """Sleep for `ms`."""

    ms: int


class RaceStep(msgspec.Struct, frozen=True, tag="race"):
    """An activity against a timer of `ms`: whichever comes second is cancelled."""

    ms: int
    work_ms: int
    beats: int = 0


class SignalStep(msgspec.Struct, frozen=True, tag="signals"):
    """Wait until `count` signals have come in all."""

    count: int


class MarkerStep(msgspec.Struct, frozen=True, tag="marker"):
    """Record a marker."""


class ChildStep(msgspec.Struct, frozen=True, tag="child"):
    """Start a child workflow with a program of its own, send it the signals it waits for, and wait until it is closed.

    `policy`: the parent close policy. `waits`: else only until it is started. `cancels`: ask it to end.
    `attempts`: its runs at most, by a retry policy; 0 = one run and no policy.
    """

    program: "Program"
    policy: int = 1
    waits: bool = True
    cancels: bool = False
    attempts: int = 0


class CallStep(msgspec.Struct, frozen=True, tag="call"):
    """Signal another workflow (`cancels`: ask it to end), whether it is there or not, and wait for the outcome."""

    workflow_id: str
    cancels: bool = False


class ContinueStep(msgspec.Struct, frozen=True, tag="continue"):
    """Continue as new: a run of its own does the rest."""


Step = ActivityStep | TimerStep | RaceStep | SignalStep | MarkerStep | ChildStep | CallStep | ContinueStep


class Program(msgspec.Struct, frozen=True):
    """`steps` one after the other; then the workflow completes, or fails. `failures`: so many attempts of the run fail
    at their end, whatever the later ones do.
    """

    steps: tuple[Step, ...]
    fails: bool = False
    failures: int = 0

    @property
    def signals(self) -> int:
        """How many signals a run of it waits for."""
        return max((step.count for step in self.steps if isinstance(step, SignalStep)), default=0)

    def after(self, index: int) -> "Program":
        """What is left behind the step at `index`, for a run that knows none of the signals before."""
        taken = max((step.count for step in self.steps[:index] if isinstance(step, SignalStep)), default=0)
        rest = tuple(
            SignalStep(step.count - taken) if isinstance(step, SignalStep) else step for step in self.steps[index + 1 :]
        )
        return Program(rest, self.fails, self.failures)


def draw_program(entropy: SeededEntropy) -> Program:
    """A program of one to six steps, or some more where it calls another workflow."""
    steps: list[Step] = []
    signals = 0
    for _ in range(1 + entropy.below(6)):
        choice = entropy.below(11)
        if choice in (7, 10):
            steps.append(_draw_child(entropy))
        elif choice == 8:
            target = f"wf-{entropy.below(12)}"
            steps += [CallStep(target, entropy.fraction() < 0.1) for _ in range(1 + entropy.below(3))]
        elif choice == 9:
            steps.append(ContinueStep())
        elif choice >= 5:
            signals += 1 + entropy.below(2)
            steps.append(SignalStep(signals))
        else:
            steps.append(_draw_plain(entropy, choice))
    return Program(tuple(steps), entropy.fraction() < 0.15, entropy.below(3) if entropy.fraction() < 0.2 else 0)


def _draw_plain(entropy: SeededEntropy, choice: int) -> Step:
    """A step that needs nobody else."""
    if choice <= 1:
        return _draw_activity(entropy)
    if choice == 2:
        return TimerStep(50 + entropy.below(4_000))
    if choice == 3:
        return RaceStep(200 + entropy.below(2_000), 200 + entropy.below(2_000), entropy.below(3))
    return MarkerStep()


def _draw_child(entropy: SeededEntropy) -> ChildStep:
    policy = _POLICIES[entropy.below(3)]
    steps: list[Step] = [_draw_plain(entropy, entropy.below(5)) for _ in range(1 + entropy.below(2))]
    failures = entropy.below(3) if entropy.fraction() < 0.3 else 0
    if policy != _ABANDON and not failures and entropy.fraction() < 0.7:
        steps.insert(entropy.below(2), SignalStep(1 + entropy.below(4)))
    elif entropy.fraction() < 0.3:
        steps.insert(1, ContinueStep())
    return ChildStep(
        program=Program(tuple(steps), entropy.fraction() < 0.2, failures),
        policy=int(policy),
        waits=entropy.fraction() < 0.8 or any(isinstance(step, SignalStep) for step in steps),
        cancels=entropy.fraction() < 0.2,
        attempts=2 + entropy.below(2) if failures else 0,
    )


def _draw_activity(entropy: SeededEntropy) -> ActivityStep:
    fails = entropy.below(3)
    return ActivityStep(
        fails=fails,
        hangs=1 + entropy.below(2) if entropy.fraction() < 0.2 else 0,
        beats=entropy.below(3),
        work_ms=entropy.below(1_500),
        attempts=4 if entropy.fraction() < 0.3 else 0,
        width=1 + (entropy.below(3) if entropy.fraction() < 0.3 else 0),
    )


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Program)
_activity_decoder: msgspec.json.Decoder[ActivityStep | RaceStep] = msgspec.json.Decoder(ActivityStep | RaceStep)


def payloads(data: bytes) -> Payloads:
    """One payload."""
    return Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=data)])


def program_input(program: Program) -> Payloads:
    """The workflow's input."""
    return payloads(_encoder.encode(program))


def program_of(input: Payloads) -> Program:
    """What a workflow's input says."""
    return _decoder.decode(input.payloads[0].data)


def encoded_step(step: Step) -> Payloads:
    """An activity's input."""
    return payloads(_encoder.encode(step))


def activity_step(input: Payloads) -> ActivityStep | RaceStep:
    """What an activity's input says."""
    return _activity_decoder.decode(input.payloads[0].data)
