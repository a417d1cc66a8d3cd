"""The state machine of one group on one appliance. Sans-IO and deterministic; docs/pairing.md specifies it.

What keeps it safe, whatever is lost, late, doubled or frozen:

1.  A node leads only after a claim of its own was granted in this life.
2.  Outputs flow (Gate.FLOW) only in an epoch that was granted without an heir and is newer than the last in
    which outputs waited, so that no offer to the sibling can still come true; and only under a lease, which
    counts from before it was asked for.
3.  An heir is offered only once outputs do wait for it, and it has all of the log.
4.  A follower is a standby only by the feed, and up to the epoch, of which its master said that outputs wait.
5.  Nobody follows while a claim of its own may still come true.
6.  Whoever learns of a newer epoch with another owner stops answering.
7.  An answer older than what one knew when asking means that the selector has forgotten. A node alone does
    not act on it; a master whose sibling has seen the same, and knows of nothing newer, claims on until the
    register is past all that was ever granted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from appliance.pair import messages as m
from appliance.pair.knowing import FREE, Knowing
from appliance.pair.model import Gate, Group, NodeId, Role, Standing

LEADING: Final = (Role.PROMOTING, Role.MASTER, Role.YIELDING)


class Node(Knowing):
    """`on(input)` gives what is to be done; `wake_at()` when to come with a Tick at the latest.

    `boot` is greater at every start, by more than a life has feeds (nanoseconds do); `known` the newest
    `standing` of an earlier life; `atomic` the selector's: whether its claims compare and swap.
    """

    def __init__(
        self,
        me: NodeId,
        sibling: NodeId,
        group: Group,
        boot: int,
        now: int,
        known: Standing = FREE,
        *,
        atomic: bool = True,
    ) -> None:
        super().__init__(me, sibling, group, boot, now, known, atomic=atomic)
        self.joined = 0  # the last feed that was followed
        self.feeds = boot  # the last that was given
        self.feed_at = now
        self.waited = -1  # the last epoch in which outputs began to wait, or an heir was offered
        self.lent = now  # the lease that the exports know of
        self.proof = now  # when it last could prove that it is master
        self.yielded = now
        self.fault: bool | None = None
        self.told: m.Status | None = None
        self.beat_at = now

    def on(self, given: m.Input) -> list[m.Output]:
        self.out = []
        self.hear(given)
        if isinstance(given, m.PeerBack):
            self.beat_at = self.now
        if self.role in LEADING and self.standing.owner not in (self.me, None):
            self._demote()
        self._act()
        self._say()
        return self.out

    def wake_at(self) -> int:
        timers = self.group.timers
        due = (
            self.beat_at, self.again, self.look_at, self.feed_at, self.until, self._renew_at(),
            self.link_time + timers.patience, self.proof + timers.lease, self.steady + timers.hold,
            self.parted + timers.doubt, self.yielded + timers.patience,
        )  # fmt: skip
        return min(moment for moment in (*due, self.now + timers.beat) if moment > self.now)

    def is_sole(self) -> bool:
        """By the register, in an epoch of this life, and no offer to the sibling can come true any more."""
        there = self.standing
        return self.granted and there.heir is None and there.epoch > self.waited and not self.low

    def _act(self) -> None:
        match self.role:
            case Role.OUT if self.wanted:
                self._become(Role.BACKUP)
                self._follow_or_begin()
            case Role.BACKUP:
                self._follow_or_begin()
            case Role.JOINING:
                self._join()
            case Role.STANDBY:
                self._stand_by()
            case Role.PROMOTING | Role.MASTER:
                self._lead()
            case Role.YIELDING:
                self._yield()
            case _:
                pass

    # Not leading

    def _follow_or_begin(self) -> None:
        if self.granted:
            self._promote()
        elif not self.wanted:
            self._become(Role.OUT)
        elif self._is_offered():
            self._follow()
        elif self._may_begin():
            self._claim(None)
        else:
            self._look()

    def _is_offered(self) -> bool:
        peer = self.there
        if peer is None or peer.role is not Role.MASTER or peer.standing != self.standing:
            return False
        free = self.loose <= self.standing.epoch and not isinstance(self.ask, m.Claim) and not self.unread
        return self.joined < peer.feed and free

    def _follow(self) -> None:
        assert self.peer
        self.unfeed()
        self.joined = self.feed = self.peer.feed
        self.complete = -1
        self._become(Role.JOINING)
        self.out.append(m.Follow(self.standing.epoch, self.feed))

    def _may_begin(self) -> bool:
        """Whether to claim without being in sync: nobody leads, and nobody is there who should come first."""
        peer = self.there
        if self.taking and self.seen:
            return True
        if not self.seen or self.low or (peer and peer.leads):
            return False
        alone = peer is None or peer.role is Role.OUT
        if not self.standing.has_contents(self.me):
            return self.group.serve_stale and self.patient and alone
        if self.patient or (alone and peer):
            return True
        if self.standing.heir == self.me:
            return self.vrrp or peer is not None
        if self.standing.heir:
            return False
        return self.standing.owner == self.me or (peer is not None and self.outranks(peer))

    def _join(self) -> None:
        peer = self.there
        if not self.wanted or not self.feed:
            self._part()
        elif self._is_offered():
            self._follow()
        elif self.level and peer and peer.gate is Gate.WAIT and peer.feed == self.joined:
            if peer.standing == self.standing:
                self.complete = self.standing.epoch
                self._become(Role.STANDBY)
        else:
            self._look()

    def _stand_by(self) -> None:
        if self.granted:
            self._promote()
        elif not self.wanted or self.complete < 0:
            self._part()
        elif self._is_offered():
            self._follow()
        elif (self._is_master_gone() and (self.healthy or self.patient) and not self.low) or self.taking:
            self._claim(None)
        else:
            self._look()

    def _is_master_gone(self) -> bool:
        peer = self.there
        if self.standing.owner in (None, self.me) or self.vrrp or peer is None:
            return self.standing.owner in (None, self.me) or self.vrrp or not self.feed
        return peer.standing == self.standing and not peer.leads

    def _part(self) -> None:
        """Forget what was followed."""
        self.out.append(m.Demote())
        self.unfeed()
        self.complete = -1
        self._become(Role.BACKUP if self.wanted else Role.OUT)

    def _promote(self) -> None:
        self.unfeed()
        self.complete = self.waited = -1
        self.taking = self.promoted = False
        self.proof = self.now
        self._become(Role.PROMOTING)
        self.out.append(m.Promote(self.standing.epoch))

    # Leading

    def _lead(self) -> None:
        if self.role is Role.PROMOTING and self.promoted:
            self._become(Role.MASTER)
        self._move_gate()
        if not self.wanted and not self.feed:
            self._demote()
        elif self._should_yield():
            self.yielded, self.quiet = self.now, False
            self._become(Role.YIELDING)
            self.out.append(m.Freeze())
        else:
            self._keep()
            self._offer_feed()

    def _move_gate(self) -> None:
        if self.level:
            if not self.guarding:
                self.guarding, self.waited = True, self.standing.epoch
                self.out.append(m.Protect())
            if self.guarded and self.gate is not Gate.WAIT:
                self._set_gate(Gate.WAIT)
        if not self.guarding and self.role is Role.MASTER and self.is_sole() and self.now < self.until:
            if self.gate is not Gate.FLOW or self.lent != self.until:
                self.lent = self.until
                self.out.append(m.Sole(self.until))
            self._set_gate(Gate.FLOW)
        elif self._is_unsure():
            self._stop()
        if self.gate is Gate.FLOW or (self.guarded and self.level):
            self.proof = self.now

    def _is_unsure(self) -> bool:
        """Outputs flow where they must not any more, or wait for a feed that is over."""
        if self.guarding:
            return False
        if self.gate is Gate.FLOW:
            return self.now >= self.until or not self.is_sole()
        return self.gate is Gate.WAIT and not self.level and self.is_sole()

    def _keep(self) -> None:
        """What to ask of the selector."""
        there, peer = self.standing, self.there
        if self.low:
            agreed = peer is not None and peer.forgotten and peer.standing.epoch <= there.epoch
            climbs = agreed or self.taking
            return self._claim(self.sibling if self.guarded else None) if climbs else self._look()
        self.taking = False
        if self.guarded:
            if there.owner is None or there.heir != self.sibling:
                self.waited = there.epoch
                return self._claim(self.sibling)
            return self._look()
        loose = peer is not None and peer.loose > there.epoch
        if not self.guarding and (not self.is_sole() or loose):
            return self._look() if self._leaves_it() else self._claim(None)
        if self.now >= self._renew_at():
            return self._ask(m.Renew(there.epoch))
        return None

    def _leaves_it(self) -> bool:
        """To the heir, which claims at once if it is this node that is cut off."""
        timers = self.group.timers
        pause = timers.doubt if self.healthy else timers.patience
        return self.standing.heir == self.sibling and self.now < self.parted + pause

    def _offer_feed(self) -> None:
        peer = self.there
        if self.role is not Role.MASTER or self.feed or not self.is_sole() or self.now < self.feed_at:
            return
        if (
            peer
            and peer.role in (Role.BACKUP, Role.JOINING, Role.STANDBY)
            and peer.loose <= self.standing.epoch
        ):
            self.feeds += 1
            self.feed, self.feed_at = self.feeds, self.now + self.group.timers.retry
            self.out.append(m.Feed(self.standing.epoch, self.feed))

    def _should_yield(self) -> bool:
        peer, there, timers = self.there, self.standing, self.group.timers
        able = (
            self.role is Role.MASTER and self.guarded and (there.owner, there.heir) == (self.me, self.sibling)
        )
        if not able or self.silent or peer is None or peer.role is not Role.STANDBY:
            return False
        if self.wish or peer.wish:
            return True
        if not peer.healthy or self.now < self.yielded + 2 * timers.patience:
            return False
        due = self.group.preempt and peer.priority > self.group.priority(self.me)
        return not self.wanted or not self.healthy or (due and self.now >= self.steady + timers.hold)

    def _yield(self) -> None:
        """Frozen; the sibling claims when nobody owns the group any more."""
        if not self.guarded or self.now >= self.yielded + self.group.timers.patience:
            self.out.append(m.Thaw())
            self._become(Role.MASTER)
            self._lead()
        elif self.standing.owner is None:
            self._look(self.group.timers.retry)
        elif self.quiet:
            self._ask(m.Release(self.standing.epoch))

    def _demote(self) -> None:
        self.out.append(m.Demote())
        self.unfeed()
        self.gate, self.granted = Gate.STOP, False
        self._become(Role.BACKUP if self.wanted else Role.OUT)

    def _stop(self) -> None:
        self.out.append(m.Stop())
        self._set_gate(Gate.STOP)

    # Asking and telling

    def _claim(self, heir: NodeId | None) -> None:
        self._ask(m.Claim((self.low or self.standing).epoch, heir))

    def _look(self, every: int | None = None) -> None:
        if every is not None:
            self.look_at = min(self.look_at, self.ask_time + every)
        if self.now >= self.look_at or self.low or self.unread:
            self._ask(m.Look())

    def _ask(self, ask: m.Ask) -> None:
        if self.ask or self.now < self.again:
            return
        ask = m.Look() if self.unread else ask
        if isinstance(ask, m.Claim):
            self.claim_time = self.now
        self.ask, self.ask_time, self.ask_epoch = ask, self.now, self.standing.epoch
        self.out.append(ask)

    def _renew_at(self) -> int:
        return self.until - self.group.timers.lease + self.group.timers.renew

    def _become(self, role: Role) -> None:
        if role is not self.role:
            self.role, self.wish = role, False
            self.tell(role.value)

    def _set_gate(self, gate: Gate) -> None:
        if gate is not self.gate:
            self.gate = gate
            self.tell({Gate.STOP: "stopped", Gate.WAIT: "protected", Gate.FLOW: "sole"}[gate])

    def _has_address(self) -> bool:
        if self.role is Role.STANDBY:
            return self.healthy
        proven = self.now < self.proof + self.group.timers.lease
        return (
            self.role in LEADING
            and proven
            and not (self.role is Role.YIELDING and self.standing.owner is None)
        )

    def _say(self) -> None:
        if self.fault is self._has_address():
            self.fault = None
        if self.fault is None:
            self.fault = not self._has_address()
            self.out.append(m.Fault(self.fault))
        if not self.linked:
            return
        last = self.told
        status = m.Status(
            self.group.name, self.me, self.boot, last.count if last else 0, self.role, self.gate,
            self.standing, self.feed if self.role in LEADING else 0, self.group.priority(self.me),
            self.healthy, self.wish and self.role is Role.STANDBY, self.low is not None, self.loose,
        )  # fmt: skip
        if status != last or self.now >= self.beat_at:
            self.told = replace(status, count=status.count + 1)
            self.beat_at = self.now + self.group.timers.beat
            self.out.append(m.Send(self.told))
