"""The tasks of the built-in scorers: held-out rows, a solver and a scorer each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Score, Target, mean, model_graded_qa, scorer, stderr
from inspect_ai.solver import Generate, TaskState, generate, solver
from tenacity import RetryError

from lockgate.errors import LockgateError
from lockgate.prompts import asked
from lockgate.scoring import (
    CHOICES,
    chosen,
    options_of,
    question,
    same_option,
    score_number,
    score_text,
)
from lockgate.tools.inspect_ai import judge_key
from lockgate.tools.inspect_ai.options import answer_ids, option_probabilities

GRADES = {"C": 1.0, "P": 0.5, "I": 0.0}
JUDGE_TRIES = 3
"""Asked again, a judge that gave no grade answers at a temperature: at 0 it would repeat itself."""
_JUDGE_TEMPERATURE = 0.7
_JUDGE_SECONDS = 600


def build(
    config: dict[str, Any],
    place: int,
    rows: list[dict[str, Any]],
    data: Path,
    model: Callable[[], Any],
    tokenizer: Any,
) -> Task:
    """The task of a built-in scorer.

    Args:
        config: what `render` gave.
        place: of the task in it.
        rows: it is measured on, checked against it.
        data: their file, for messages.
        model: the evaluated model, loaded when it is first called.
        tokenizer: of its base model.

    Raises:
        LockgateError: if two rows have one id, or the judge's key is not set.
    """
    task = config["tasks"][place]
    kind = task["scorer"]
    samples = []
    for number, row in enumerate(rows, 1):
        target, options = row["completion"], None
        if kind in CHOICES:
            options = options_of(task["options"], row)
            target = same_option(target, options) or target
        samples.append(
            Sample(
                id=str(row.get("id", number)),
                input=_input(question(task.get("prompt"), row), row.get("history")),
                target=target,
                choices=options,
            )
        )
    twice = [name for name, count in Counter(s.id for s in samples).items() if count > 1]
    if twice:
        raise LockgateError(
            f"two rows have the id '{twice[0]}'", where=str(data), hint="ids must be unique"
        )
    return Task(
        name=task["name"],
        dataset=MemoryDataset(samples),
        solver=_weigh(config, task, model, tokenizer) if kind == "probabilities" else generate(),
        scorer=_scorer(config, place),
    )


def _input(prompt: str, history: list[dict[str, str]] | None) -> str | list[ChatMessage]:
    """What a sample asks: a text, or a conversation that ends with it."""
    if not history:
        return prompt
    kinds = {"user": ChatMessageUser, "assistant": ChatMessageAssistant}
    said: list[ChatMessage] = [kinds[one["role"]](content=one["content"]) for one in history]
    return [*said, ChatMessageUser(content=prompt)]


def _history(state: TaskState) -> list[dict[str, str]]:
    """What was said before a sample's last question."""
    given = state.input if isinstance(state.input, list) else []
    return [{"role": one.role, "content": one.text} for one in given[:-1]]


def _asked(state: TaskState) -> str:
    """What the judge is shown as the question: the whole conversation, where there is one."""
    said = [f"{one['role'].capitalize()}: {one['content']}" for one in _history(state)]
    return "\n\n".join([*said, f"User: {state.input_text}"] if said else [state.input_text])


def _scorer(config: dict[str, Any], place: int) -> Any:
    task = config["tasks"][place]
    kind = task["scorer"]
    graders = _graders(config, place) if kind == "graded" else []

    async def score(state: TaskState, target: Target) -> Score:
        answer = state.output.completion
        if kind == "graded":
            return await _grade(graders, state, target)
        if kind == "probabilities":
            value, kept = float(answer == target.text), {"probabilities": state.store.get(kind)}
            return Score(value=value, answer=answer, metadata=kept)
        if kind == "numeric":
            value, read = score_number(answer, target.text, task["tolerance"])
            return Score(value=value, answer=answer, metadata={"value": read})
        if kind == "choice":
            option = chosen(answer, [choice.value for choice in state.choices])
            value = float(option == target.text)
            return Score(value=value, answer=option or answer, metadata={"option": option})
        return Score(value=score_text(kind, answer, target.text), answer=answer)

    @scorer(metrics=[mean(), stderr()], name=kind)
    def built() -> Any:
        return score

    return built()


def _graders(config: dict[str, Any], place: int) -> list[Any]:
    """One scorer for each time that the judge may be asked."""
    task = config["tasks"][place]
    judge, graders = task["judge"], []
    for attempt in range(JUDGE_TRIES):
        model = get_model(
            f"openai-api/judge/{judge['model']}",
            base_url=judge["url"],
            api_key=judge_key(judge, place),
            memoize=False,
            config=GenerateConfig(
                temperature=_JUDGE_TEMPERATURE if attempt else 0.0,
                seed=config["seed"] + attempt,
                max_tokens=judge["max_tokens"],
                max_retries=2,
                attempt_timeout=_JUDGE_SECONDS,
            ),
        )
        graders.append(
            model_graded_qa(
                task["rubric"], include_history=_asked, partial_credit=True, model=model
            )
        )
    return graders


async def _grade(graders: list[Any], state: TaskState, target: Target) -> Score:
    for grader in graders:
        try:
            graded = await grader(state, target)
        except RetryError as error:
            raise ConnectionError(
                f"the judge does not answer: {error.last_attempt.exception()!r}"
            ) from error
        if graded.value in GRADES:
            return Score(
                value=GRADES[graded.value],
                answer=graded.answer,
                explanation=graded.explanation,
                metadata=graded.metadata,
            )
    said = " ".join(graded.metadata["grading"][1].text.split())
    raise ValueError(
        f"the judge gave sample {state.sample_id} no grade in {len(graders)} tries; "
        f"at last it said {said[-200:]!r}"
    )


@solver(name="probabilities")
def _weigh(
    config: dict[str, Any], task: dict[str, Any], model: Callable[[], Any], tokenizer: Any
) -> Any:
    """Weigh the options as continuations of the prompt, and answer with the most probable."""
    system = task.get("system_prompt") or config["system_prompt"]

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        network, prompt = model().api.model, state.user_prompt.text
        ends = set(network.generation_config.eos_token_id)
        options = [choice.value for choice in state.choices]
        history = _history(state)
        answers = [
            answer_ids(tokenizer, prompt, option, system, ends, history) for option in options
        ]
        shown = asked(tokenizer, prompt, system, history)
        found = option_probabilities(network, shown, answers, config["batch_size"])
        state.store.set("probabilities", dict(zip(options, found, strict=True)))
        best = options[found.index(max(found))]
        state.output = ModelOutput.from_content(str(state.model), best)
        return state

    return solve
