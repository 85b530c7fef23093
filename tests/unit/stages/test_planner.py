"""The planner's chains: on small catalogs like real ones, and on random ones against a search
that tries everything."""

import itertools
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.catalog.model import InputNote, Notes, Port, Step
from lockgate.errors import LockgateError
from lockgate.stages import planner
from lockgate.stages.planner import Action, NoChain, chain, working_order

REFERENCE = Path(__file__).parents[4] / "shared/reference/nemotron/src/nemotron/steps"

IS_A = {"raw": "rows", "filtered": "rows", "translated": "rows"}
BASES = {kind: InputNote(key=f"base_{kind}", base_of_adapter=True) for kind in ("hf", "megatron")}


def is_a(kind, other):
    return kind == other or IS_A.get(kind) == other


def step(name, takes="", gives="", **notes):
    """A step from `a b?` (what it takes; `?`: optional) and `c d?` (what it gives)."""

    def ports(text):
        return [Port(type=one.strip("?"), required="?" not in one) for one in text.split()]

    return Step(id=name, consumes=ports(takes), produces=ports(gives), notes=Notes(**notes))


STEPS = {
    one.id: one
    for one in [
        step("convert/to_hf", "megatron", "hf"),
        step("convert/to_megatron", "hf", "megatron"),
        step("convert/merge", "adapter hf megatron?", "hf megatron?", inputs=BASES),
        step("prep/pack", "rows", "packed"),
        step("prep/curate", "raw", "filtered"),
        step("translate", "filtered", "translated"),
        step("sft/packed", "packed hf?", "megatron"),
        step("sft/plain", "rows hf?", "hf"),
        step("lora", "rows hf?", "adapter"),
        step("dpo", "rows megatron", "megatron"),
        step("rlhf", "rows megatron hf", "megatron"),
        step("evaluate", "megatron?", "scores"),
        step("evaluate/local", "weights hf?", "scores", inputs={"hf": BASES["hf"]}),
    ]
}
INSERTABLE = [name for name in STEPS if name.startswith(("convert/", "prep/"))]

TRANSLATE = Action("translate", ("translate",), ("raw",))
PACKED = Action("sft", ("sft/packed",), ("rows", "hf"))
PLAIN = Action("sft", ("sft/plain",), ("rows", "hf"))
LORA = Action("lora", ("lora",), ("rows", "hf"))
DPO = Action("dpo", ("dpo",), ("rows",))
EVALUATE = Action("evaluate", ("evaluate",))


def plan(*actions, **more):
    return chain(STEPS, is_a, actions, INSERTABLE, **more)


def names(links):
    return [link.step for link in links]


def takes(link):
    """Port, type and origin of each input: a link's index, or `given` and the action's."""
    return {
        use.port: (use.type, f"given {use.action}" if use.producer is None else use.producer)
        for use in link.inputs
    }


def test_packing_is_inserted_before_training_on_packed_rows():
    links = plan(PACKED)
    assert names(links) == ["prep/pack", "sft/packed"]
    assert links[0].action is None
    assert links[0].needed_for == ("sft/packed", "packed")
    assert links[1].action == 0
    assert links[1].needed_for is None
    assert takes(links[1]) == {"packed": ("packed", 0), "hf": ("hf", "given 0")}


def test_training_takes_the_translated_rows_and_not_the_raw_ones():
    links = plan(TRANSLATE, Action("sft", ("sft/packed",), ("hf",)))
    assert names(links) == ["prep/curate", "translate", "prep/pack", "sft/packed"]
    assert takes(links[2]) == {"rows": ("translated", 1)}


def test_preference_training_takes_its_own_rows_and_the_converted_checkpoint():
    links = plan(PLAIN, DPO)
    assert names(links) == ["sft/plain", "convert/to_megatron", "dpo"]
    assert takes(links[2]) == {"rows": ("rows", "given 1"), "megatron": ("megatron", 1)}
    assert links[1].needed_for == ("dpo", "megatron")


def test_the_shortest_chain_over_all_actions_wins_over_the_better_candidate():
    """Training on packed rows takes two links; with a conversion in place of them it is even."""
    both = Action("sft", ("sft/packed", "sft/plain"), ("rows", "hf"))
    assert names(plan(both)) == ["sft/plain"]
    assert names(plan(both, DPO)) == ["prep/pack", "sft/packed", "dpo"]
    turned = Action("sft", ("sft/plain", "sft/packed"), ("rows", "hf"))
    assert names(plan(turned, DPO)) == ["sft/plain", "convert/to_megatron", "dpo"]


def test_of_ports_that_fill_one_key_the_named_the_given_or_the_last_is_fed():
    split = step("split", "raw", "rows held")
    alike = {kind: InputNote(key="data") for kind in ("rows", "held")}
    steps = {**STEPS, "split": split, "measure": step("measure", "rows? held?", "s", inputs=alike)}

    def measured(**action):
        actions = [Action("split", ("split",), ("raw",)), Action("measure", ("measure",), **action)]
        return set(takes(chain(steps, is_a, actions, [])[-1]))

    assert measured() == {"held"}
    assert measured(named=("rows",)) == {"rows"}
    assert measured(given=("rows",), use=("rows",), independent=True) == {"rows"}


def test_an_adapter_is_merged_into_its_base_and_converted():
    links = plan(LORA, DPO)
    assert names(links) == ["lora", "convert/merge", "convert/to_megatron", "dpo"]
    assert takes(links[1]) == {"adapter": ("adapter", 0), "hf": ("hf", "given 0")}


def test_an_adapter_is_merged_into_its_own_base_whatever_else_is_there():
    reward = Action("rlhf", ("rlhf",), ("rows", "hf"))
    links = plan(LORA, reward)
    assert names(links) == ["lora", "convert/merge", "convert/to_megatron", "rlhf"]
    assert takes(links[1])["hf"] == ("hf", "given 0")
    assert takes(links[3])["hf"] == ("hf", "given 1")
    fresh = Action("lora", ("lora",), ("rows", "hf"), independent=True)
    links = plan(PLAIN, fresh, DPO)
    assert takes(links[2])["hf"] == ("hf", "given 1")


def test_a_base_that_the_user_names_for_a_merge_is_taken():
    merge = Action("merge", ("convert/merge",), ("hf",), use=("hf",))
    links = plan(LORA, merge)
    assert takes(links[1]) == {"adapter": ("adapter", 0), "hf": ("hf", "given 1")}


def test_an_adapter_of_a_trained_model_is_merged_into_that_model():
    links = plan(PLAIN, Action("lora", ("lora",), ("rows",)), DPO)
    assert takes(links[1]) == {"rows": ("rows", "given 1"), "hf": ("hf", 0)}
    assert takes(links[2]) == {"adapter": ("adapter", 1), "hf": ("hf", 0)}


def test_an_adapter_is_evaluated_merged_or_with_its_base():
    assert names(plan(LORA, EVALUATE)) == [
        "lora",
        "convert/merge",
        "convert/to_megatron",
        "evaluate",
    ]

    def fits(kind, other):
        return is_a(kind, other) or (other == "weights" and kind in ("hf", "adapter"))

    local = Action("evaluate", ("evaluate/local",))
    links = chain(STEPS, fits, [LORA, local], INSERTABLE)
    assert takes(links[1]) == {"weights": ("adapter", 0), "hf": ("hf", "given 0")}
    links = chain(STEPS, fits, [PLAIN, local], INSERTABLE)
    assert takes(links[1]) == {"weights": ("hf", 0)}


def test_an_endpoint_is_evaluated_without_inputs():
    (link,) = plan(EVALUATE)
    assert link.inputs == ()
    links = plan(PACKED, Action("evaluate", ("evaluate",), independent=True))
    assert names(links) == ["prep/pack", "sft/packed", "evaluate"]
    assert links[2].inputs == ()


def test_an_evaluation_after_training_takes_the_checkpoint():
    links = plan(PACKED, EVALUATE)
    assert takes(links[2]) == {"megatron": ("megatron", 1)}


def test_a_model_that_has_to_be_used_is_converted_for_an_optional_port():
    assert names(plan(Action("evaluate", ("evaluate",), ("hf",)))) == ["evaluate"]
    links = plan(Action("evaluate", ("evaluate",), ("hf",), use=("hf",)))
    assert names(links) == ["convert/to_megatron", "evaluate"]
    with pytest.raises(NoChain, match="no step for 'evaluate' takes rows") as caught:
        plan(Action("evaluate", ("evaluate",), ("rows",), use=("rows",)))
    assert caught.value.action == 0


def test_evaluations_are_passed_over_when_an_action_builds_on_the_one_before():
    links = plan(EVALUATE, PACKED, EVALUATE, EVALUATE, DPO)
    assert names(links)[1:] == ["prep/pack", "sft/packed", "evaluate", "evaluate", "dpo"]
    assert links[0].inputs == ()
    for link in links[3:]:
        assert takes(link)["megatron"] == ("megatron", 2)


def test_a_reward_model_does_not_stand_for_the_policy_that_was_trained():
    links = plan(PLAIN, Action("rlhf", ("rlhf",), ("rows", "hf")))
    assert takes(links[1]) == {"hf": ("hf", 0)}
    assert takes(links[2])["hf"] == ("hf", "given 1")


def test_optional_products_are_not_relied_on():
    steps = {"make": step("make", "a", "b?"), "use": step("use", "b", "c")}
    act = [Action("make", ("make",), ("a",)), Action("use", ("use",))]
    with pytest.raises(NoChain):
        chain(steps, str.__eq__, act, [])
    links = chain({**steps, "make": step("make", "a", "b")}, str.__eq__, act, [])
    assert takes(links[1]) == {"b": ("b", 0)}


def test_an_optional_input_that_the_configuration_has_no_key_for_is_left_out():
    steps = {"use": step("use", "a? b?", "c", inputs={"a": InputNote()})}
    (link,) = chain(steps, str.__eq__, [Action("use", ("use",), ("a", "b"))], [])
    assert takes(link) == {"b": ("b", "given 0")}


def test_an_optional_input_is_not_filled_with_what_is_stale():
    steps = {
        "first": step("first", "a", "b"),
        "second": step("second", "b", "c"),
        "third": step("third", "c b?", "d"),
    }
    act = [Action("first", ("first",), ("a",))]
    act += [Action(name, (name,)) for name in ("second", "third")]
    assert takes(chain(steps, str.__eq__, act, [])[2]) == {"c": ("c", 1)}


def test_ties_go_to_the_first_candidate_then_to_the_first_insertable():
    steps = {name: step(name, "b", "c") for name in ("one", "two")}
    steps |= {name: step(name, "a", "b") for name in ("left", "right")}

    def found(candidates, insertable):
        links = chain(steps, str.__eq__, [Action("do", candidates, ("a",))], insertable)
        return names(links)

    assert found(("two", "one"), ["right", "left"]) == ["right", "two"]
    assert found(("one", "two"), ["left", "right"]) == ["left", "one"]
    assert found(("one", "two"), {"right", "left"}) == ["left", "one"]


def test_what_nothing_gives_or_makes_is_named():
    with pytest.raises(NoChain, match="which nothing gives or makes") as caught:
        plan(TRANSLATE, Action("dpo", ("dpo", "rlhf"), ("rows",), independent=True))
    assert caught.value.action == 1
    assert caught.value.missing == {"dpo": ("megatron",), "rlhf": ("megatron", "hf")}
    assert "give it megatron or megatron and hf" in caught.value.hint


def test_an_action_that_cannot_build_on_the_one_before_is_refused():
    message = "'translate' cannot build on 'sft': it takes nothing that comes of hf"
    with pytest.raises(NoChain, match=message) as caught:
        plan(PLAIN, Action("translate", ("translate",), ("filtered",)))
    assert caught.value.action == 1
    assert caught.value.missing == {"translate": ()}


def test_an_input_of_ones_own_in_place_of_what_was_made_is_told():
    with pytest.raises(NoChain, match="cannot build on 'translate'") as caught:
        plan(TRANSLATE, PLAIN)
    assert "do not give it an input of its own" in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "works"),
    [
        ([DPO, PACKED], "sft, dpo"),
        ([EVALUATE, DPO, LORA], "lora, evaluate, dpo"),
        ([PLAIN, Action("pack", ("prep/pack",))], None),
    ],
    ids=["swapped", "three", "no order helps"],
)
def test_a_contradictory_order_is_refused_with_the_order_that_works(asked, works):
    with pytest.raises(NoChain) as caught:
        plan(*asked)
    if works:
        assert caught.value.hint == f"this order works: {works}"
    else:
        assert "this order works" not in caught.value.hint


def test_what_was_given_to_another_action_counts_when_the_order_is_looked_for():
    pack = Action("pack", ("prep/pack",))
    assert working_order(STEPS, is_a, [PACKED, pack], []) == [1, 0]
    choice = Action("pack", ("prep/pack", "prep/curate"))
    assert working_order(STEPS, is_a, [PACKED, choice], []) is None


def test_an_order_that_leaves_an_action_alone_is_no_answer():
    steps = {**STEPS, "bench": step("bench", "documents bench?", "bench")}
    act = [Action("bench", ("bench",), ("documents",)), EVALUATE]
    with pytest.raises(NoChain, match="cannot build on 'bench'") as caught:
        chain(steps, is_a, act, INSERTABLE)
    assert "this order works" not in caught.value.hint


def test_nothing_to_do_is_an_empty_chain_and_no_candidate_is_refused():
    assert plan() == []
    with pytest.raises(NoChain, match="no step does 'fly'") as caught:
        plan(Action("fly", ()))
    assert caught.value.missing == {}


def test_a_chain_over_the_limit_is_refused():
    with pytest.raises(NoChain, match="at most 1 steps"):
        plan(PACKED, limit=1)
    with pytest.raises(NoChain):
        plan(PACKED, DPO, limit=1)


def test_an_unknown_step_is_named():
    with pytest.raises(LockgateError, match="no catalog has the step 'nowhere'"):
        plan(Action("go", ("nowhere",)))


def test_a_search_without_end_stops_with_a_word(monkeypatch):
    monkeypatch.setattr(planner, "STATES", 3)
    with pytest.raises(LockgateError, match="looked at 3 partial chains"):
        plan(TRANSLATE, Action("sft", ("sft/packed",), ("hf",)), DPO)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference catalog is not there")
def test_real_manifests_chain():
    steps = {}
    for path in sorted(REFERENCE.rglob("step.toml")):
        manifest = tomllib.loads(path.read_text())
        one = Step(**manifest["step"], **{k: manifest.get(k, []) for k in ("consumes", "produces")})
        steps[one.id] = one
    types = tomllib.loads((REFERENCE / "types.toml").read_text())

    def fits(kind, other):
        return kind == other or any(fits(up, other) for up in types[kind].get("is_a", []))

    insertable = [name for name in steps if name.startswith(("convert/", "data_prep/", "curate/"))]
    act = [
        Action("translate", ("translate/nemo_curator",), ("raw_jsonl",)),
        Action("lora", ("peft/automodel",), ("checkpoint_hf",)),
        Action("dpo", ("rl/nemo_rl/dpo",), ("training_jsonl",)),
        Action("evaluate", ("eval/model_eval",)),
    ]
    assert names(chain(steps, fits, act, insertable)) == [
        "curate/nemo_curator",
        "translate/nemo_curator",
        "peft/automodel",
        "convert/merge_lora",
        "convert/hf_to_megatron",
        "rl/nemo_rl/dpo",
        "eval/model_eval",
    ]


# What follows knows the rules, but not how the planner searches.


class World:
    """A random catalog, and the rules of a chain written down a second time."""

    def __init__(self, above, steps, actions, insertable, limit):
        self.above, self.steps, self.actions = above, steps, actions
        self.insertable, self.limit = insertable, limit

    def __repr__(self):
        told = [
            f"{one.id}: {[(p.type, p.required) for p in one.consumes]}"
            f" -> {[(p.type, p.required) for p in one.produces]}"
            for one in self.steps.values()
        ]
        lines = [f"above {self.above}", *told, *map(str, self.actions), str(self.insertable)]
        return "\n" + "\n".join(lines)

    def fits(self, kind, port):
        return kind == port or any(self.fits(up, port) for up in self.above[kind])

    def made(self, name):
        return [port.type for port in self.steps[name].produces if port.required]

    def follows(self, number):
        """The action that this one builds on."""
        if self.actions[number].independent:
            return None
        ports = {port.type for one in self.steps.values() for port in one.consumes}
        for before in reversed(range(number)):
            kinds = {kind for name in self.actions[before].candidates for kind in self.made(name)}
            if any(self.fits(kind, port) for kind in kinds for port in ports):
                return before
        return None


class Thing:
    """An artifact: the user's own of an action, or the product of a link from other things."""

    def __init__(self, kind, given=None, link=None, does=None, of=()):
        self.kind, self.given, self.link, self.does, self.of = kind, given, link, does, of

    def level(self):
        if self.given is not None:
            return -1
        return self.does if self.does is not None else max([t.level() for t in self.of] or [-1])

    def gifts(self, action):
        """Types of what the user gave to this action that it was prepared from."""
        if self.given is not None:
            return {self.kind} if self.given == action else set()
        if self.does is not None:
            return set()
        return {kind for thing in self.of for kind in thing.gifts(action)}


def freshness(thing, port, action, things, wanted):
    gifts = thing.gifts(action)
    marks = bool(gifts) + len(gifts & wanted)
    return marks, thing.level(), thing.kind == port, things.index(thing)


def freshest(world, name, number, things):
    """What a step takes of the things that are there; None where it lacks something."""
    wanted, before = set(world.actions[number].use), world.follows(number)
    found = {}
    for port in world.steps[name].consumes:
        fitting = [thing for thing in things if world.fits(thing.kind, port.type)]
        ranks = [freshness(thing, port.type, number, things, wanted) for thing in fitting]
        best = things[max(ranks)[-1]] if ranks else None
        if port.required and best is None:
            return None
        if port.required or (best and (best.gifts(number) or best.level() == before)):
            found[port.type] = best
    return found


def lawful(world, number, taken):
    """Whether an action may take these things."""
    before = world.follows(number)
    action = world.actions[number]
    gifts = {kind for thing in taken.values() for kind in thing.gifts(number)}
    return set(action.use) <= gifts and (
        before is None or any(thing.level() == before for thing in taken.values())
    )


def possible(world, left, number=0, things=(), waiting=frozenset(), count=0):
    """Whether the actions from this one on can be done with exactly so many more links."""
    if number == len(world.actions):
        return left == 0
    if left < len(world.actions) - number:
        return False
    things = things or given_to(world, 0)
    for name in world.actions[number].candidates:
        taken = freshest(world, name, number, things)
        if taken is None or not lawful(world, number, taken):
            continue
        if waiting <= {thing.link for thing in taken.values()}:
            new = [Thing(kind, link=count, does=number) for kind in world.made(name)]
            after = [*things, *new, *given_to(world, number + 1)]
            if possible(world, left - 1, number + 1, after, frozenset(), count + 1):
                return True
    for name in world.insertable:
        fixed = freshest(world, name, number, things)
        if fixed is None:
            continue
        needed = [port.type for port in world.steps[name].consumes if port.required]
        options = [[t for t in things if world.fits(t.kind, port)] for port in needed]
        for choice in itertools.product(*options):
            of = list({**fixed, **dict(zip(needed, choice, strict=True))}.values())
            new = [Thing(kind, link=count, of=of) for kind in world.made(name)]
            after = (waiting | {count}) - {thing.link for thing in of}
            if new and possible(world, left - 1, number, [*things, *new], after, count + 1):
                return True
    return False


def given_to(world, number):
    """What the user brings to an action; nothing after the last."""
    brought = world.actions[number].given if number < len(world.actions) else ()
    return [Thing(kind, given=number) for kind in brought]


def check(world, links):
    """Follow a chain and fail where it breaks a rule."""
    things, number, used_by = given_to(world, 0), 0, {}
    for index, link in enumerate(links):
        ports = {port.type: port.required for port in world.steps[link.step].consumes}
        taken = {}
        for use in link.inputs:
            (taken[use.port],) = [
                thing
                for thing in things
                if (thing.kind, thing.link, thing.given) == (use.type, use.producer, use.action)
            ]
            assert world.fits(use.type, use.port)
            used_by.setdefault(use.producer, []).append((index, link.step, use.port))
        assert set(taken) <= set(ports)
        assert {port for port, required in ports.items() if required} <= set(taken)
        if link.action is None:
            assert link.step in world.insertable
        else:
            assert link.action == number
            assert link.step in world.actions[number].candidates
            assert taken == freshest(world, link.step, number, things)
            assert lawful(world, number, taken)
        things += [
            Thing(kind, link=index, does=link.action, of=list(taken.values()))
            for kind in world.made(link.step)
        ]
        if link.action is not None:
            number += 1
            things += given_to(world, number)
    assert number == len(world.actions)
    for index, link in enumerate(links):
        if link.action is None:
            first, by, port = used_by[index][0]
            assert link.needed_for == (by, port)
            between = links[index + 1 : first]
            assert all(other.action is None for other in between), "inserted before it is needed"


@st.composite
def worlds(draw):
    kinds = "ABCDE"[: draw(st.integers(3, 5))]
    above = {
        kind: draw(st.sets(st.sampled_from(kinds[at + 1 :]), max_size=1)) if kinds[at + 1 :] else ()
        for at, kind in enumerate(kinds)
    }
    above = {kind: sorted(up) for kind, up in above.items()}

    def ports(least, most):
        chosen = draw(st.lists(st.sampled_from(kinds), min_size=least, max_size=most, unique=True))
        sure = [True, True, False]
        return [Port(type=kind, required=draw(st.sampled_from(sure))) for kind in chosen]

    steps = {
        f"s{at}": Step(
            id=f"s{at}", consumes=ports(draw(st.sampled_from((1, 1, 0))), 3), produces=ports(1, 2)
        )
        for at in range(draw(st.integers(3, 6)))
    }
    names = sorted(steps)
    some = st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)
    actions = []
    for at in range(draw(st.sampled_from((2, 1, 3)))):
        given_types = draw(
            st.lists(st.sampled_from(kinds), min_size=at == 0, max_size=2, unique=True)
        )
        use = draw(st.lists(st.sampled_from(given_types), max_size=1)) if given_types else []
        alone = draw(st.integers(0, 4)) == 0
        actions.append(Action(f"do {at}", tuple(draw(some)), tuple(given_types), tuple(use), alone))
    insertable = draw(st.lists(st.sampled_from(names), min_size=2, max_size=4, unique=True))
    return World(above, steps, actions, insertable, len(actions) + 2)


@settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(worlds())
def test_a_chain_always_fits_and_is_the_shortest_or_there_is_none(world):
    shortest = next(
        (
            length
            for length in range(len(world.actions), world.limit + 1)
            if possible(world, length)
        ),
        None,
    )
    arguments = (world.steps, world.fits, world.actions, world.insertable, world.limit)
    if shortest is None:
        with pytest.raises(NoChain):
            chain(*arguments)
        return
    links = chain(*arguments)
    check(world, links)
    assert len(links) == shortest
    assert links == chain(*arguments)
