"""How shards behave, as one frozen value, and what every part of every shard of a process shares."""

import msgspec

from perdure.base.clock import Clock
from perdure.base.entropy import Entropy
from perdure.base.limits import KIB, MIB
from perdure.shards.contract import Executions
from perdure.shards.measured import ShardMeters
from perdure.shards.merging import MergePolicy
from perdure.shards.splitting import SplitPolicy
from perdure.shards.tenure import SOLE, Tenure
from perdure.store.contract import Store


class ShardOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds unless the name says otherwise.

    `shards`: how many are created in an empty store. `group_*`: a group ends when it has reached either.
    `segment_bytes`: a segment that has reached this is followed by the next. `ceiling_ahead_us`: how far checkpoint
    stamps may go before the next append has to allow more. `checkpoint_age_s`: a chain is checkpointed so long after it
    became dirty. `hurry_bytes`: with so much log behind it a shard checkpoints at once; `refuse_bytes`: new work is
    refused. `timer_window_s`: timers due later are only in the store. `fires_max`, `errands_max`, `callbacks_max`: so
    many timers, and errands and callbacks besides, are fired at once. `effects_delay_s`, `withdraw_delay_s`: effects
    and withdrawals gather so long. `answer_s`: callers wait so long for a group whose outcome is not known. `lease_s`:
    on a shared store an owner answers for so long after it has renewed its lease, which is due every `lease_renewal_s`;
    who waits for another's looks every `lease_poll_s`. All hosts of a store must have the same `lease_s`.
    `hand_over_s`: a living owner is given so long to let go of a shard before its lease is revoked; `overtaken_s`: it
    waits so long for who was going to ask; `calm_s`: who has made a shard keeps it for so long, unless it inherits
    nothing before. `acquire_parallel` shards that nobody serves are taken at once. Of those that others serve
    `moves_parallel` are taken at once, `moves_per_s` a second; a host lets go of `leave_parallel` at once, and one that
    leaves waits `leave_s` until all were asked for. `sweep_interval_s`: a page of the store's log
    segments, `sweep_page` at most, is looked through so often. `inherit_interval_s`: a page of the index rows that a
    shard has from those it was made of is written anew so often. `auto_split`: when a shard is split by its load, None
    = never; `auto_merge`: when neighbours are merged, None = never. `overdue_interval_s`: `overdue_page` runs of one
    namespace that should have been deleted long ago are looked for so often. `audit_interval_s`: half more or less by
    chance; what has waited for `reoffer_after_s` is then offered again, so that matching that forgot hears of it within
    half a minute.
    """

    shards: int = 4
    group_bytes: int = 512 * KIB
    group_transitions: int = 256
    segment_bytes: int = MIB
    ceiling_ahead_us: int = 30_000_000
    checkpoint_age_s: float = 2.0
    checkpoint_chains: int = 256
    checkpoint_bytes: int = MIB
    hurry_bytes: int = 4 * MIB
    refuse_bytes: int = 16 * MIB
    timer_window_s: float = 600.0
    timers_loaded_max: int = 10_000
    page: int = 1_000
    fires_max: int = 32
    errands_max: int = 64
    callbacks_max: int = 256
    offers_batch: int = 100
    offers_pending_max: int = 1_000
    effects_batch: int = 100
    effects_delay_s: float = 0.02
    withdraw_delay_s: float = 0.05
    audit_interval_s: float = 12.0
    audit_chains: int = 100
    reoffer_after_s: float = 10.0
    retry_first_s: float = 0.01
    retry_max_s: float = 1.0
    call_timeout_s: float = 5.0
    answer_s: float = 5.0
    checkpoint_timeout_s: float = 30.0
    acquire_parallel: int = 16
    moves_parallel: int = 2
    moves_per_s: float = 25.0
    leave_parallel: int = 8
    leave_s: float = 20.0
    reacquire_first_s: float = 0.1
    reacquire_max_s: float = 10.0
    stop_timeout_s: float = 10.0
    lease_s: float = 5.0
    lease_renewal_s: float = 1.5
    lease_poll_s: float = 0.25
    calm_s: float = 5.0
    hand_over_s: float = 2.5
    overtaken_s: float = 20.0
    sweep_interval_s: float = 30.0
    sweep_page: int = 100
    inherit_interval_s: float = 0.05
    auto_split: SplitPolicy | None = None
    auto_merge: MergePolicy | None = None
    overdue_interval_s: float = 600.0
    overdue_page: int = 100


class World(msgspec.Struct, frozen=True):
    """What every part of every shard of a process shares."""

    store: Store
    executions: Executions
    clock: Clock
    entropy: Entropy
    options: ShardOptions = ShardOptions()
    meters: ShardMeters = msgspec.field(default_factory=ShardMeters)
    tenure: Tenure = SOLE
