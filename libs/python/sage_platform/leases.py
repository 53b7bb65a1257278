"""Leadership by lease: a key in KV that its holder renews and that expires when the holder dies.

The holder's *epoch* is the millisecond in which the bucket was made plus the revision at which it took the lease. A
later holder has a higher one, also in a bucket that the server has lost and that was made again (as long as fewer than
a thousand revisions a second are written to it), so everything stamped with an epoch can be fenced. A holder that
cannot renew steps down by its own clock before the lease can expire at the server, so two holders never act at once.

In a NATS cluster a bucket has a leader among the servers. When that one is killed the others take 4 to 9 s to choose
another (they are nats-server's constants), and meanwhile nobody can write to the bucket, so nobody can take the lease
either. A holder that is *told* so goes on: "no responders" is answered at once by the server that it is connected with,
and means that no leader of the bucket is among the servers on this side. One that is cut off in silence hears nothing
until it has stepped down as ever: servers miss each other after two pings. The first second after a choice is the
holder's, to write its lease again. Should a network not be silent but refuse connections where it is cut, holders on
both sides may overlap for that time; epochs fence them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NoStreamResponseError
from nats.js.kv import KeyValue

from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform.background import keep_running
from sage_platform.kv import created_unix_ms
from sage_platform.nats_cluster import copies_on

log = get_logger(__name__)

TTL_SECONDS = 1.3
ATTEMPT_SECONDS = 0.2
# Step down this long before the server would expire the lease.
SAFETY_SECONDS = 0.35
# The longest that the servers of a cluster take to choose a leader, and some time for the way.
CHOICE_SECONDS = 10.0
# After a choice the lease is its holder's to write again.
HOLDERS_SECONDS = 1.0
# In a cluster one attempt takes a few times the way between the servers; what takes longer was lost with one of them.
CLUSTER_ATTEMPT_SECONDS = 0.4
AFTER_FAULT_SECONDS = 0.05


class Leadership:
    """Campaigns for one lease and reports when it is gained and lost.

    Args:
        bucket: KV bucket whose TTL is ``ttl_seconds``.
        key: the lease.
        holder: id of this instance, written as the value.
        on_gained: called with the epoch.
        on_lost: called once for each gain that ends.
        may_campaign: asked before each attempt to take a free lease; sharing rules go here.
        ttl_seconds: the bucket's TTL, where it is another.
    """

    def __init__(
        self,
        bucket: KeyValue,
        key: str,
        holder: str,
        *,
        clock: Clock,
        on_gained: Callable[[int], None],
        on_lost: Callable[[], None],
        may_campaign: Callable[[], bool] = lambda: True,
        ttl_seconds: float = TTL_SECONDS,
    ) -> None:
        self._longest_silence_seconds = ttl_seconds - SAFETY_SECONDS
        self._bucket = bucket
        self._key = key
        self._holder = holder
        self._clock = clock
        self._on_gained = on_gained
        self._on_lost = on_lost
        self._may_campaign = may_campaign
        self._revision = 0
        self._renewed_at = 0.0
        self._leading = False
        self._excused_until = float("-inf")
        self._yields_until = float("-inf")
        self._task: asyncio.Task[None] | None = None
        # What went wrong in the last attempt; None when nothing did.
        self.last_error: str | None = None

    @property
    def leading(self) -> bool:
        """Whether this instance holds the lease, by its own clock."""
        return self._leading

    @property
    def may_act(self) -> bool:
        """Whether the lease is held and cannot have expired yet: a process that was stopped for a while learns from
        this, before anything else has run, that it may be another's."""
        return self._leading and not self._is_overdue()

    def start(self) -> None:
        """Begin to campaign."""
        self._task = keep_running(self._campaign, name=f"lease-{self._key}")

    async def stop(self) -> None:
        """Stop campaigning and give the lease back, so that another takes it at once."""
        if self._task:
            await end_tasks(self._task)
        if self._leading:
            self._step_down("stopping")
            try:
                await self._bucket.delete(self._key, last=self._revision)
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("lease not given back; it expires by itself", key=self._key, error=str(error))

    async def release(self) -> None:
        """Give the lease back and go on campaigning for it."""
        if self._leading:
            self._step_down("released")
            await self._bucket.delete(self._key, last=self._revision)

    async def _campaign(self) -> None:
        try:
            while True:
                await self._attempt()
                if self._leading and self._is_overdue():
                    self._step_down("it could not be renewed in time")
                hurries = self._leading and self.last_error is not None and self._clock.now() > self._excused_until
                await asyncio.sleep(AFTER_FAULT_SECONDS if hurries else ATTEMPT_SECONDS)
        except Exception:
            # The lease may pass to another before this task runs again.
            if self._leading:
                self._step_down("the task that renews it failed")
            raise

    async def _attempt(self) -> None:
        self.last_error = None
        try:
            attempt = self._renew() if self._leading else self._take()
            await asyncio.wait_for(attempt, timeout=self._attempt_seconds)
        except KeyWrongLastSequenceError:
            if self._leading:
                self._step_down("another instance holds it")
        except (NatsError, asyncio.TimeoutError, OSError) as error:
            self._weigh(error)
            self.last_error = str(error) or repr(error)
            log.warning("lease attempt failed", key=self._key, error=self.last_error)

    @property
    def _attempt_seconds(self) -> float:
        longest = self._longest_silence_seconds
        in_cluster = self._leading and copies_on(self._bucket._js._nc) > 1
        return min(CLUSTER_ATTEMPT_SECONDS, longest) if in_cluster else longest

    def _weigh(self, error: Exception) -> None:
        """Tell a cluster that chooses a leader of the bucket from one that is out of reach."""
        if copies_on(self._bucket._js._nc) == 1:
            return
        if self._yields_until > float("-inf"):
            # There is still none.
            self._yields_until = self._clock.now() + HOLDERS_SECONDS
        if not isinstance(error, NoStreamResponseError):
            return
        if self._leading and not self._is_overdue():
            # A server that is cut off in silence finds out later than this, by pings.
            self._excused_until = self._renewed_at + CHOICE_SECONDS
        self._yields_until = self._clock.now() + HOLDERS_SECONDS

    def _is_overdue(self) -> bool:
        now = self._clock.now()
        return now - self._renewed_at > self._longest_silence_seconds and now > self._excused_until

    async def _take(self) -> None:
        if not self._may_campaign():
            return
        if self._yields_until > float("-inf"):
            if self._clock.now() < self._yields_until:
                # Fails, and begins the time again, until there is a leader.
                await self._bucket._js.stream_info(self._bucket._stream)
                return
            self._yields_until = float("-inf")
        asked_at = self._clock.now()
        self._revision = await self._bucket.create(self._key, self._holder.encode())
        epoch = await created_unix_ms(self._bucket) + self._revision
        self._renewed_at = asked_at
        self._leading = True
        log.info("lease gained", key=self._key, epoch=epoch)
        self._on_gained(epoch)

    async def _renew(self) -> None:
        asked_at = self._clock.now()
        value = self._holder.encode()
        try:
            self._revision = await self._bucket.update(self._key, value, last=self._revision)
        except KeyWrongLastSequenceError:
            if self._is_overdue():
                raise
            self._revision = await self._bucket.update(self._key, value, last=await self._own_revision())
        self._renewed_at = asked_at
        self._excused_until = float("-inf")

    async def _own_revision(self) -> int:
        """Return the revision of a lease that cannot have expired yet and is not the one known here.

        A renewal whose answer came too late was stored all the same: then the lease says this holder's name. Where the
        key was never written the bucket is a new one, made since the server was started again, and the revision is 0:
        whoever writes first holds the lease in it.
        """
        try:
            entry = await self._bucket.get(self._key)
        except KeyNotFoundError:
            return 0
        return int(entry.revision or 0) if entry.value == self._holder.encode() else self._revision

    def _step_down(self, reason: str) -> None:
        self._leading = False
        self._excused_until = float("-inf")
        (log.info if reason == "stopping" else log.warning)("lease lost", key=self._key, reason=reason)
        self._on_lost()
