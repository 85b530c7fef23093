"""What a list of actions can reach at all, and the clearest word where it cannot."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lockgate.catalog.model import Step
from lockgate.errors import LockgateError

Quality = tuple[str, int, bool]
"""An artifact's type, its level, and whether it comes of what the current action was given."""


@dataclass(frozen=True)
class Action:
    """One thing that the user wants done.

    Attributes:
        name: for messages.
        candidates: ids of the steps that would do it, best first.
        given: artifact types that the user brings to this action.
        use: those of `given` that the action has to take, itself or through what is prepared
            from them, even where its own port for them is optional.
        independent: it builds on nothing that an earlier action made (it may still take it,
            where it needs such a type and was not given one).
        named: types that the user wants taken from an earlier action, also where the port for
            them is optional.
    """

    name: str
    candidates: tuple[str, ...]
    given: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    independent: bool = False
    named: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[str]:
        return [kind for kind in dict.fromkeys(self.use) if kind in self.given]


class NoChain(LockgateError):
    """No chain does all actions in their order.

    Attributes:
        action: index of the first action that cannot be reached.
        missing: for each of its candidates the required types that nothing gives or makes.
        order: of the actions, in which there is a chain; empty: none is known.
    """

    def __init__(
        self,
        action: int,
        missing: dict[str, tuple[str, ...]],
        what: str,
        hint: str,
        order: tuple[int, ...] = (),
    ) -> None:
        super().__init__(what, hint=hint)
        self.action, self.missing, self.order = action, missing, order


class Reach:
    """The actions and the steps that may do them or lead to them; see `planner.chain`."""

    def __init__(
        self,
        steps: Mapping[str, Step],
        is_a: Callable[[str, str], bool],
        actions: Sequence[Action],
        insertable: Collection[str],
        limit: int,
    ) -> None:
        self.steps, self.actions, self.limit = steps, actions, limit
        ordered = sorted(insertable) if isinstance(insertable, set | frozenset) else insertable
        self.insertable = list(dict.fromkeys(ordered))
        self.rank = {name: rank for rank, name in enumerate(self.insertable)}
        self.needs = {name: step.ports for name, step in steps.items()}
        # an optional product may not be there
        self.makes = {
            name: [port.type for port in step.produces if port.required]
            for name, step in steps.items()
        }
        self._is_a = is_a
        self._known: dict[tuple[str, str], bool] = {}

    def fits(self, kind: str, port: str) -> bool:
        if (kind, port) not in self._known:
            self._known[kind, port] = kind == port or self._is_a(kind, port)
        return self._known[kind, port]

    @cached_property
    def previous(self) -> list[int | None]:
        """For each action the one that it builds on."""
        wanted = {port.type for ports in self.needs.values() for port in ports}
        goes_on = [
            any(
                self.fits(kind, port)
                for name in action.candidates
                for kind in self.makes[name]
                for port in wanted
            )
            for action in self.actions
        ]
        return [
            None
            if action.independent
            else next((k for k in range(number - 1, -1, -1) if goes_on[k]), None)
            for number, action in enumerate(self.actions)
        ]

    @cached_property
    def relevant(self) -> list[list[int]]:
        """For each action the ranks of the insertable steps that can lead to it."""
        found = []
        for action in self.actions:
            wanted = {port.type for name in action.candidates for port in self.needs[name]}
            ranks: set[int] = set()
            grown = True
            while grown:
                grown = False
                for rank, name in enumerate(self.insertable):
                    serves = any(self.fits(k, port) for k in self.makes[name] for port in wanted)
                    if rank not in ranks and serves:
                        ranks.add(rank)
                        wanted |= {port.type for port in self.needs[name]}
                        grown = True
            found.append(sorted(ranks))
        return found

    def check(self) -> None:
        """Refuse at once what no selection of inputs could reach.

        Qualities (type, level, given to the current action) are spread over all steps without
        minding who takes which; what is out of reach here is out of reach for good.
        """
        found: set[Quality] = set()
        for number, action in enumerate(self.actions):
            found = {(kind, level, False) for kind, level, _ in found}
            found |= {(kind, -1, True) for kind in action.given}
            found = self._spread(found, self.relevant[number])
            missing = {
                name: tuple(
                    port.type
                    for port in self.needs[name]
                    if port.required and not self._fitting(port.type, found)
                )
                for name in action.candidates
            }
            reached = [
                name
                for name in action.candidates
                if not missing[name]
                and self._builds(name, number, found)
                and all(self._leads(kind, name, number, found) for kind in action.wanted)
            ]
            if not reached:
                raise self.refusal(number, missing)
            found |= {(kind, number, False) for name in reached for kind in self.makes[name]}

    def _fitting(self, port: str, found: set[Quality]) -> list[Quality]:
        return [quality for quality in found if self.fits(quality[0], port)]

    def _spread(self, found: set[Quality], ranks: Sequence[int]) -> set[Quality]:
        """Everything that inserted steps may add."""
        while True:
            before = len(found)
            for rank in ranks:
                name = self.insertable[rank]
                ports = self.needs[name]
                taken = {port.type: self._fitting(port.type, found) for port in ports}
                if all(taken[port.type] for port in ports if port.required):
                    levels = {level for some in taken.values() for _, level, _ in some} | {-1}
                    owned = {own for some in taken.values() for _, _, own in some} | {False}
                    found = found | set(itertools.product(self.makes[name], levels, owned))
            if len(found) == before:
                return found

    def _builds(self, name: str, number: int, found: set[Quality]) -> bool:
        """Whether an action can take what descends from the one before."""
        previous = self.previous[number]
        if previous is None:
            return True
        given = self.actions[number].given
        return any(
            level == previous and (own or not any(self.fits(kind, port.type) for kind in given))
            for port in self.needs[name]
            for _, level, own in self._fitting(port.type, found)
        )

    def _leads(self, kind: str, name: str, number: int, found: set[Quality]) -> bool:
        """Whether a given type can get into a step, itself or prepared."""
        there, size = {kind}, 0
        while size < len(there):
            size = len(there)
            for rank in self.relevant[number]:
                ports = self.needs[self.insertable[rank]]
                able = all(self._fitting(port.type, found) for port in ports if port.required)
                if able and any(self.fits(one, port.type) for one in there for port in ports):
                    there |= set(self.makes[self.insertable[rank]])
        return any(self.fits(one, port.type) for one in there for port in self.needs[name])

    def _could(self, kind: str, name: str, number: int) -> bool:
        """Whether a type could lead to a step, whatever else that takes."""
        there, size = {kind}, 0
        while size < len(there):
            size = len(there)
            for step in (self.insertable[rank] for rank in self.relevant[number]):
                if any(self.fits(one, port.type) for one in there for port in self.needs[step]):
                    there |= set(self.makes[step])
        return any(self.fits(one, port.type) for one in there for port in self.needs[name])

    def refusal(self, number: int, missing: dict[str, tuple[str, ...]]) -> NoChain:
        """The clearest word on why an action cannot be reached."""
        action, previous = self.actions[number], self.previous[number]
        missing = missing or {name: () for name in action.candidates}
        if not missing:
            return NoChain(number, {}, f"no step does '{action.name}'", "name a step that does it")
        if all(missing.values()):
            lacks = "; ".join(f"{name} needs {', '.join(kinds)}" for name, kinds in missing.items())
            wanted = " or ".join(dict.fromkeys(" and ".join(kinds) for kinds in missing.values()))
            return NoChain(
                number,
                missing,
                f"no chain of steps reaches '{action.name}': {lacks}, which nothing gives or makes",
                f"give it {wanted}, or add a step that makes it",
            )
        unused = [
            kind
            for kind in action.wanted
            if not any(self._could(kind, name, number) for name in action.candidates)
        ]
        if unused:
            takes = {port.type for name in action.candidates for port in self.needs[name]}
            return NoChain(
                number,
                missing,
                f"no step for '{action.name}' takes {' or '.join(unused)}, nor what is made of it",
                f"they take {', '.join(sorted(takes)) or 'nothing'}",
            )
        if previous is not None:
            before = self.actions[previous]
            kinds = ", ".join(dict.fromkeys(k for n in before.candidates for k in self.makes[n]))
            return NoChain(
                number,
                missing,
                f"'{action.name}' cannot build on '{before.name}': it takes nothing that comes of "
                f"{kinds or 'it'}",
                "change the order, or do not give it an input of its own in place of "
                f"what '{before.name}' makes",
            )
        return NoChain(
            number,
            missing,
            f"no chain of at most {self.limit} steps reaches '{action.name}' from "
            f"{', '.join(action.given) or 'what is there'}",
            "name the steps in between, or give it an input that it takes as it is",
        )
