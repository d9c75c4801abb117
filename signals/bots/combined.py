"""Combined: the weighted mean of other bots' opinions."""

from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from signals.bot import Bot, Needs, Parameters, Part, Signal, Window, bounded, first_fault
from signals.bots.ma_cross import MovingAverageCrossBot
from signals.bots.macd import MacdBot
from signals.bots.rsi import RsiBot

_BOTS: Final[dict[str, Bot]] = {bot.kind: bot for bot in (RsiBot(), MacdBot(), MovingAverageCrossBot())}
_KIND: Final = "combined"
_LEAST_CONFIDENCE: Final = 0.2


class Component(Parameters):
    """One bot in the mean: its own parameters (complete after validation) and its share before normalising."""

    kind: str = Field(description=f"one of {', '.join(sorted(_BOTS))}")
    weight: float = Field(ge=0, le=1_000_000, description="its share, in proportion to the others")
    params: dict[str, Any] = Field(default_factory=dict, validate_default=True, description="its own parameters")
    enabled: bool = True

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind == _KIND:
            raise ValueError("a combined bot cannot contain a combined bot")
        if kind not in _BOTS:
            raise ValueError(f"there is no bot {kind[:40]!r} to combine: there are {', '.join(sorted(_BOTS))}")
        return kind

    @field_validator("params")
    @classmethod
    def _completed(cls, params: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        kind = info.data.get("kind")
        if kind is None:  # already refused
            return params
        try:
            return _BOTS[kind].Params.model_validate(params).model_dump(mode="json")
        except ValidationError as error:
            raise ValueError(f"the parameters of {kind} are wrong: {first_fault(error)}") from None

    @property
    def counts(self) -> bool:
        return self.enabled and self.weight > 0


class CombinedParams(Parameters):
    components: Annotated[tuple[Component, ...], Field(max_length=20)] = (
        Component(kind=RsiBot.kind, weight=0.33),
        Component(kind=MacdBot.kind, weight=0.34),
        Component(kind=MovingAverageCrossBot.kind, weight=0.33),
    )

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not any(component.counts for component in self.components):
            raise ValueError("at least one enabled component must have a weight above 0")
        return self


class CombinedBot:
    kind: ClassVar[str] = _KIND
    version: ClassVar[str] = "1"
    Params: ClassVar[type[Parameters]] = CombinedParams

    def needs(self, params: CombinedParams) -> Needs:
        return Needs(bars=max(_needed(component) for component in params.components if component.counts))

    def evaluate(self, window: Window, params: CombinedParams) -> Signal | None:
        """score = sum(weight * score) / sum(weight) over the enabled components that have an opinion."""
        asked = ((component, _opinion(component, window)) for component in params.components if component.counts)
        answered = [(component, opinion) for component, opinion in asked if opinion is not None]
        if not answered:
            return None
        total = sum(component.weight for component, _ in answered)
        parts = tuple(_part(component, opinion, component.weight / total) for component, opinion in answered)
        score = bounded(sum(part.weight * part.score for part in parts))
        confidence = sum(part.weight * opinion.confidence for part, (_, opinion) in zip(parts, answered, strict=True))
        confidence = min(1.0, confidence)
        if confidence < _LEAST_CONFIDENCE:
            note = f"hold: the mean confidence {confidence:.2f} is below {_LEAST_CONFIDENCE}"
            return Signal(score=0.0, confidence=confidence, parts=parts, note=note)
        return Signal(score=score, confidence=confidence, parts=parts, note=_note(answered))


def _needed(component: Component) -> int:
    bot = _BOTS[component.kind]
    return bot.needs(bot.Params.model_validate(component.params)).bars


def _opinion(component: Component, window: Window) -> Signal | None:
    bot = _BOTS[component.kind]
    params = bot.Params.model_validate(component.params)
    needed = bot.needs(params).bars
    return bot.evaluate(window.last(needed), params) if len(window) >= needed else None


def _part(component: Component, opinion: Signal, weight: float) -> Part:
    """What the component said, under its weight among those that answered."""
    value = opinion.parts[0].value if len(opinion.parts) == 1 else None
    return Part(name=component.kind, score=opinion.score, weight=weight, value=value)


def _note(answered: list[tuple[Component, Signal]]) -> str:
    return "; ".join(f"{component.kind} {opinion.score:+.2f}: {opinion.note}" for component, opinion in answered)[:500]
