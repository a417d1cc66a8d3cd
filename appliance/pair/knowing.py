"""What a group's node knows of the register, its sibling and its exports, and how it learns of it."""

from __future__ import annotations

from typing import Final, TypeAlias

from appliance.pair import messages as m
from appliance.pair.model import Gate, Group, NodeId, Role, Standing

FREE: Final = Standing()

Answer: TypeAlias = m.Granted | m.Renewed | m.Refused | m.Looked | m.SelectorSilent


class Knowing:
    """The half of `Node` that takes things in. It changes no role and wants nothing done, but tells."""

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
        self.me, self.sibling, self.group, self.boot, self.atomic = me, sibling, group, boot, atomic
        self.now = now
        self.out: list[m.Output] = []
        # the register
        self.standing = known
        self.low: Standing | None = None  # what a selector says that has forgotten
        self.seen = False  # it has answered in this life
        self.silent = False  # it did not, the last time
        self.ask: m.Ask | None = None
        self.ask_time = self.claim_time = self.again = self.look_at = now
        self.ask_epoch = known.epoch
        self.unread: Standing | None = None  # granted by a selector that is not atomic, to be read back
        self.granted = False  # `standing` is of a claim of this life, without an heir
        self.loose = 0  # the epoch that a claim of unknown fate may yet bring
        self.until = now  # the end of the lease
        # the sibling
        self.linked = False
        self.link_time = now
        self.peer: m.Status | None = None
        # the exports
        self.gate = Gate.STOP
        self.feed = 0  # the number of the feed under way: given, when leading, else taken
        self.level = False  # it has caught up
        self.guarding = False  # Protect was asked for, of this feed
        self.guarded = False  # and is done
        self.complete = -1  # a follower's: the epoch up to which it surely has everything
        self.steady = now  # since when outputs wait for the sibling without a break
        self.parted = now  # since when they do not
        self.quiet = False
        self.promoted = False
        # the appliance
        self.role = Role.BACKUP
        self.vrrp = False
        self.healthy = True
        self.wanted = True
        self.wish = False
        self.taking = False

    def hear(self, given: m.Input) -> None:
        match given:
            case m.Tick(now):
                self.now = max(self.now, now)
            case m.Heard(status):
                if status.node == self.sibling and (self.peer is None or status.age > self.peer.age):
                    if self.peer and status.boot != self.peer.boot:
                        self.unfeed()  # what streams there were ended with its earlier life
                    self.peer = status
                    self._adopt(status.standing)
            case m.PeerLost() | m.PeerBack():
                self.linked = isinstance(given, m.PeerBack)
                self.link_time = self.now
                if not self.linked and not self.level and self.gate is not Gate.STOP:
                    self.unfeed()  # the answer to one that has yet to begin may be lost with the link
            case m.CaughtUp(feed) if feed == self.feed:
                self.level = True
            case m.StreamsLost(feed) if feed == self.feed:
                self.unfeed()
            case m.Protected() if self.guarding and not self.guarded:
                self.guarded, self.steady = True, self.now
            case m.Granted() | m.Renewed() | m.Refused() | m.Looked() | m.SelectorSilent():
                self._answered(given)
            case m.Vrrp(state):
                self.vrrp = state == "MASTER"
            case m.Health(ok, reason):
                if ok is not self.healthy:
                    self.tell("healthy" if ok else "unhealthy", reason)
                self.healthy = ok
            case m.Order(wish):
                self._order(wish)
            case m.Quiesced():
                self.quiet = True
            case m.Promoted():
                self.promoted = True
            case _:
                pass  # of a feed that is over

    @property
    def there(self) -> m.Status | None:
        """What the sibling said last, if one can talk to it."""
        return self.peer if self.linked else None

    @property
    def patient(self) -> bool:
        """The link has been as it is, up or down, for long enough to act on what is second best."""
        return self.now >= self.link_time + self.group.timers.patience

    def outranks(self, peer: m.Status) -> bool:
        return self.group.priority(self.me) > peer.priority

    def tell(self, event: str, detail: str = "") -> None:
        self.out.append(m.Tell(event, self.standing.epoch, detail))

    def unfeed(self) -> None:
        self.parted = self.now if self.guarded else self.parted
        self.feed, self.level, self.guarding, self.guarded = 0, False, False, False

    def _order(self, wish: m.Wish) -> None:
        match wish:
            case m.Wish.MAINTENANCE | m.Wish.RESUME:
                self.wanted = wish is m.Wish.RESUME
            case m.Wish.TAKE:
                self.taking = self.wanted = True
            case m.Wish.SWITCHOVER | m.Wish.FAIL_BACK:
                able = self.guarded or self.role is Role.STANDBY
                better = self.peer is not None and self.outranks(self.peer) is (self.role is Role.STANDBY)
                self.wish = able and (better or wish is m.Wish.SWITCHOVER)
                if not able:
                    self.tell("not_in_sync", f"no {wish.value} before the backup is in sync")

    def _answered(self, given: Answer) -> None:
        ask, self.ask = self.ask, None
        timers = self.group.timers
        if isinstance(given, m.SelectorSilent) is not self.silent:
            self.silent = not self.silent
            self.tell("selector_silent" if self.silent else "selector_answers")
        if self.silent or isinstance(given, m.Refused):
            self.again = self.now + timers.retry
        if isinstance(given, m.SelectorSilent):
            if isinstance(ask, m.Claim):
                self.loose = max(self.loose, ask.epoch + 1)
            return
        self.seen = True
        self.look_at = self.now + timers.look
        if isinstance(given, m.Renewed):
            self.until = self.ask_time + timers.lease
            return
        standing, mine = given.standing, isinstance(given, m.Granted) and isinstance(ask, m.Claim)
        if mine and not self.atomic:
            self.unread, self.again = standing, self.now + timers.settle
            return
        if self.unread and isinstance(ask, m.Look):
            mine = standing.owner == self.me
            standing, self.unread = (self.unread if mine else standing), None
        if self._forgotten(standing, mine):
            return
        if mine and standing.epoch > self.standing.epoch:
            self.until = self.claim_time + timers.lease
            self.granted = standing.heir is None
        self._adopt(standing)

    def _forgotten(self, standing: Standing, mine: bool) -> bool:
        """Whether the answer is older than what was known when asking: then claims climb on from it."""
        known = self.standing
        old = standing.epoch < self.ask_epoch or (standing.epoch == known.epoch and standing != known)
        if not (old or (mine and self.low and standing.epoch <= known.epoch)):
            self.low = None
            return False
        if self.low is None:
            self.tell("selector_forgot", f"it says epoch {standing.epoch}")
        if not mine:
            self.again = self.now + self.group.timers.retry
        self.low = standing
        return True

    def _adopt(self, standing: Standing) -> None:
        """The newest standing counts. Who had everything has it still, if nobody can have gone on without."""
        if standing.epoch <= self.standing.epoch:
            return
        self.standing = standing
        followed = standing.heir == self.me or standing.owner in (None, self.me)
        self.complete = standing.epoch if self.complete >= 0 and followed else -1
        self.granted = self.granted and standing.owner == self.me
