"""The shortest chain of steps that does what the user wants: a pure search over artifact types.

Actions are done in their order. A chain is searched forwards, cheapest first: each partial chain
either does the next action or inserts a step that leads to it. Every artifact in it is a fact
with a level, the last action whose product it descends from (-1: only what the user gave).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lockgate.catalog.model import Port, Step
from lockgate.errors import LockgateError
from lockgate.stages.reach import Action, NoChain, Reach

STATES = 5_000
"""Partial chains that are looked at before the search gives up."""


@dataclass(frozen=True)
class Use:
    """One input of a link.

    Attributes:
        port: type of the consumed port.
        type: type of the artifact that is taken.
        producer: index of the link that makes it; None: the user brought it.
        action: index of the action to which the user brought it; None: a link makes it.
    """

    port: str
    type: str
    producer: int | None = None
    action: int | None = None


@dataclass(frozen=True)
class Link:
    """One step of the chain.

    Attributes:
        step: its id.
        inputs: what it takes; optional ports that take nothing are left out.
        action: index of the action that it does; None: it was inserted.
        needed_for: of an inserted link, the step that takes its product first, and the type of
            the port that takes it.
    """

    step: str
    inputs: tuple[Use, ...] = ()
    action: int | None = None
    needed_for: tuple[str, str] | None = None


def chain(
    steps: Mapping[str, Step],
    is_a: Callable[[str, str], bool],
    actions: Sequence[Action],
    insertable: Collection[str],
    limit: int = 12,
) -> list[Link]:
    """The chain with the fewest links that does all actions in their order.

    Equal ones: the better candidates, then the inserted steps that come first in `insertable`
    (a set counts as sorted), then the fresher inputs. An action takes the freshest artifact
    that fits a port: what the user gave to it or what was prepared from that, then the highest
    level, then the exact type, then the newest. Optional ports take only what is fresh (given to
    this action, or made by the one before) or named. An action has to build on the one before;
    those whose products no step consumes, like evaluations, are passed over.

    Args:
        steps: by id; keys are what candidates, `insertable` and links name.
        is_a: whether an artifact of the first type may stand for the second.
        actions: what to do.
        insertable: ids of steps that may be inserted directly before the action they serve.
        limit: most links.

    Raises:
        NoChain: if there is none.
        LockgateError: if a step is not in `steps`, or the search grows too large.
    """
    named = [name for action in actions for name in action.candidates]
    for name in (*named, *insertable):
        if name not in steps:
            raise LockgateError(f"no catalog has the step '{name}'", hint="see `steps list`")
    try:
        return _Search(steps, is_a, actions, insertable, limit).run(STATES)
    except NoChain as error:
        order = working_order(steps, is_a, actions, insertable, limit)
        if order is None:
            raise
        named = [actions[number].name for number in order]
        hint = f"this order works: {', '.join(named)}"
        raise NoChain(error.action, error.missing, error.what, hint, tuple(order)) from None


def working_order(
    steps: Mapping[str, Step],
    is_a: Callable[[str, str], bool],
    actions: Sequence[Action],
    insertable: Collection[str],
    limit: int = 12,
) -> list[int] | None:
    """Another order of the actions that has a chain, as indices; None: there is none.

    Only a list of named steps (one candidate each, at most five) is reordered. What the user
    gave moves with its action or, where that does not do, is there from the start. In the
    chain every action has to be connected with the others.
    """
    if not 1 < len(actions) <= 5 or any(len(action.candidates) != 1 for action in actions):
        return None

    def works(order: tuple[int, ...], pooled: bool) -> bool:
        pool = tuple(dict.fromkeys(kind for action in actions for kind in action.given))
        tried = [actions[number] for number in order]
        if pooled:
            tried = [replace(one, given=() if at else pool, use=()) for at, one in enumerate(tried)]
        try:
            return _hangs_together(_Search(steps, is_a, tried, insertable, limit).run(STATES // 10))
        except LockgateError:
            return False

    asked, *others = itertools.permutations(range(len(actions)))
    for pooled in (False, True):
        if pooled and works(asked, pooled):
            return None  # it is not the order that is wrong, but to which action things are given
        for order in others:
            if works(order, pooled):
                return list(order)
    return None


def _hangs_together(links: Sequence[Link]) -> bool:
    """Whether every link takes from or gives to the others."""
    joined = {len(links) - 1}
    for _ in links:
        for number, link in enumerate(links):
            around = {number} | {use.producer for use in link.inputs if use.producer is not None}
            joined |= around if around & joined else set()
    return len(joined) == len(links)


class _Fact(NamedTuple):
    """An artifact: `own` has bit 0 if it descends from what the current action was given, and a
    further bit for each type that the action has to use; `ancestors` are bits of fact indices."""

    kind: str
    level: int
    own: int
    ancestors: int
    link: int | None
    action: int | None


class _State(NamedTuple):
    """A partial chain that is about to do `action`; `pending` inserted links serve nobody yet."""

    action: int
    facts: tuple[_Fact, ...]
    pending: frozenset[int]
    links: tuple[Link, ...]

    @property
    def key(self) -> tuple[Any, ...]:
        """What the rest of the chain depends on; links are told by their first product."""
        numbers = [fact.link for fact in self.facts]
        waiting = frozenset(numbers.index(link) for link in self.pending)
        return self.action, tuple(fact[:4] for fact in self.facts), waiting


class _Search(Reach):
    def run(self, most: int) -> list[Link]:
        """See `chain`; looks at so many partial chains at the most."""
        self.check()
        serial = itertools.count()
        total = len(self.actions)
        order: tuple[int, tuple, tuple, tuple] = (total, (), (), ())
        start = self._enter(0, (), ())
        heap = [(order, next(serial), start)] if total <= self.limit else []
        seen = set()
        furthest = 0
        while heap:
            (length, chosen, inserted, picks), _, state = heapq.heappop(heap)
            if state.action == total:
                return _with_reasons(state.links)
            if state.key in seen:
                continue
            seen.add(state.key)
            if len(seen) > most:
                raise LockgateError(
                    f"the search for a chain to '{self.actions[state.action].name}' has looked at "
                    f"{most} partial chains without an end",
                    hint="name the steps in between under `stages`",
                )
            furthest = max(furthest, state.action)
            for rank, after in self._act(state):
                order = (length, (*chosen, rank), inserted, picks)
                heapq.heappush(heap, (order, next(serial), after))
            if length < self.limit:
                for rank, pick, after in self._insert(state):
                    order = (length + 1, chosen, (*inserted, rank), (*picks, pick))
                    heapq.heappush(heap, (order, next(serial), after))
        raise self.refusal(furthest, {})

    def _enter(self, number: int, facts: tuple[_Fact, ...], links: tuple[Link, ...]) -> _State:
        """The state before an action, once the user has given what it needs."""
        known = [fact._replace(own=0) for fact in facts]
        if number < len(self.actions):
            action = self.actions[number]
            for kind in dict.fromkeys(action.given):
                bits = 1 | sum(2 << bit for bit, used in enumerate(action.wanted) if used == kind)
                known.append(_Fact(kind, -1, bits, 0, None, number))
        return _State(number, tuple(known), frozenset(), links)

    def _act(self, state: _State) -> Iterator[tuple[int, _State]]:
        """Do the next action, by each candidate that can."""
        action = self.actions[state.action]
        previous = self.previous[state.action]
        for rank, name in enumerate(action.candidates):
            for taken in self._inputs(name, state, every=False):
                facts = [state.facts[index] for _, index in taken]
                _, own = _quality(facts)
                builds = previous is None or any(fact.level == previous for fact in facts)
                serves = state.pending <= {fact.link for fact in facts}
                if builds and serves and own >> 1 == (1 << len(action.wanted)) - 1:
                    after = self._append(name, taken, state, state.action)
                    yield rank, self._enter(state.action + 1, after.facts, after.links)

    def _insert(self, state: _State) -> Iterator[tuple[int, int, _State]]:
        """Insert each step that leads towards the next action and makes something new."""
        there = {fact[:3] for fact in state.facts}
        newest = len(state.links) - 1
        last = state.links[-1] if state.links and state.links[-1].action is None else None
        for rank in self.relevant[state.action]:
            name = self.insertable[rank]
            # two steps that do not need each other: only in the order of their ranks
            turned = last is not None and self._sure(last.step) and self.rank[last.step] > rank
            for pick, taken in enumerate(self._inputs(name, state, every=True)):
                if turned and all(state.facts[index].link != newest for _, index in taken):
                    continue
                # what is there already in the same quality would serve as well
                level, own = _quality([state.facts[index] for _, index in taken])
                if any((kind, level, own) not in there for kind in self.makes[name]):
                    yield rank, pick, self._append(name, taken, state, None)

    def _sure(self, name: str) -> bool:
        """Whether a step takes the same wherever it is inserted."""
        return all(port.required for port in self.needs[name])

    def _append(
        self,
        name: str,
        taken: tuple[tuple[str, int], ...],
        state: _State,
        action: int | None,
    ) -> _State:
        facts = [state.facts[index] for _, index in taken]
        level, own = _quality(facts)
        ancestors = 0
        for (_, index), fact in zip(taken, facts, strict=True):
            ancestors |= fact.ancestors | 1 << index
        number = len(state.links)
        made = [
            _Fact(kind, level if action is None else action, own, ancestors, number, None)
            for kind in dict.fromkeys(self.makes[name])
        ]
        uses = tuple(
            Use(port, fact.kind, fact.link, fact.action)
            for (port, _), fact in zip(taken, facts, strict=True)
        )
        return _State(
            state.action,
            (*state.facts, *made),
            (state.pending | {number}) - {fact.link for fact in facts if fact.link is not None},
            (*state.links, Link(name, uses, action)),
        )

    def _inputs(
        self, name: str, state: _State, every: bool
    ) -> Iterator[tuple[tuple[str, int], ...]]:
        """Which facts a step takes (port, index): the freshest, or `every` choice, best first."""
        ports, options = self.needs[name], []
        previous = self.previous[state.action]
        for port in ports:
            ranked = self._ranked(port.type, state.facts)
            if port.required:
                options.append(ranked if every else ranked[:1])
                continue
            asked = [] if every else self.actions[state.action].named
            named = [index for index in ranked if state.facts[index].kind in asked]
            fresh = named[:1] or [
                index
                for index in ranked[:1]
                if state.facts[index].own or state.facts[index].level == previous
            ]
            options.append(fresh or [-1])
        notes = self.steps[name].notes.inputs
        bases = [kind for kind, note in notes.items() if note.base_of_adapter]
        required = {port.type for port in ports if port.required and port.type not in bases}
        for choice in itertools.product(*options):
            taken = {port.type: at for port, at in zip(ports, choice, strict=True) if at >= 0}
            if not every:
                self._one_a_key(name, taken, state)
            for port in ports:
                if port.type in bases:
                    adapters = required or set(taken) - set(bases)
                    action = -1 if every else state.action
                    self._take_base(port, taken, adapters, state.facts, action)
            yield tuple(taken.items())

    def _one_a_key(self, name: str, taken: dict[str, int], state: _State) -> None:
        """Of optional ports that fill the same key leave one: named, given, or the last."""
        notes, groups = self.steps[name].notes.inputs, dict[tuple[str, ...], list[str]]()
        for port in self.needs[name]:
            key = tuple(notes[port.type].key) if port.type in notes else ()
            if key and not port.required and port.type in taken:
                groups.setdefault(key, []).append(port.type)

        def rank(kind: str) -> tuple[bool, bool]:
            fact = state.facts[taken[kind]]
            return fact.kind in self.actions[state.action].named, fact.action == state.action

        for kinds in groups.values():
            best = max(kinds, key=lambda kind: (*rank(kind), kinds.index(kind)))
            for kind in set(kinds) - {best}:
                del taken[kind]

    def _take_base(
        self,
        port: Port,
        taken: dict[str, int],
        adapters: set[str],
        facts: tuple[_Fact, ...],
        action: int,
    ) -> None:
        """Take what the adapter was trained from; a whole model has no base.

        A base that the user gives to the action itself stays: it is compared, not replaced.
        """
        trained = [facts[taken[kind]] for kind in adapters]
        ancestors = 0
        for fact in trained:
            ancestors |= 0 if self.fits(fact.kind, port.type) else fact.ancestors
        ranked = self._ranked(port.type, facts, lambda index: bool(ancestors >> index & 1))
        whole = all(self.fits(fact.kind, port.type) for fact in trained)
        given = port.type in taken and facts[taken[port.type]].action == action
        if ranked and not given:
            taken[port.type] = ranked[0]
        elif (whole or ancestors and not given) and not port.required:
            taken.pop(port.type, None)

    def _ranked(
        self,
        port: str,
        facts: tuple[_Fact, ...],
        may: Callable[[int], bool] = lambda index: True,
    ) -> list[int]:
        """Indices of the facts that fit a port, the freshest first, one of each quality."""
        order = sorted(
            (
                index
                for index, fact in enumerate(facts)
                if self.fits(fact.kind, port) and may(index)
            ),
            key=lambda index: (
                facts[index].own,
                facts[index].level,
                facts[index].kind == port,
                index,
            ),
            reverse=True,
        )
        best: dict[tuple[str, int, int], int] = {}
        for index in order:
            best.setdefault(facts[index][:3], index)
        return list(best.values())


def _quality(facts: Sequence[_Fact]) -> tuple[int, int]:
    """Level and origin of what is made of these."""
    own = 0
    for fact in facts:
        own |= fact.own
    return max((fact.level for fact in facts), default=-1), own


def _with_reasons(links: tuple[Link, ...]) -> list[Link]:
    """Say for each inserted link what it was inserted for."""
    found = []
    for number, link in enumerate(links):
        if link.action is None:
            takers = [
                (later.step, use.port)
                for later in links[number + 1 :]
                for use in later.inputs
                if use.producer == number
            ]
            link = replace(link, needed_for=takers[0])
        found.append(link)
    return found
