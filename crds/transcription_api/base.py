"""What all models of the API share: camelCase aliases, immutability, and rules across fields.

A rule is written once with its CEL twin: pydantic evaluates the one, the CRD carries the other, both say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError

MISTAKE = "mistake"
"""The pydantic error type of every problem that carries its own advice."""
RULE = "rule"
"""The pydantic error type of a broken `Rule`."""


def mistake(problem: str, mend: str, *, kind: str = MISTAKE, at: str = "") -> PydanticCustomError:
    """A validation error that says what is wrong and what to write instead."""
    return PydanticCustomError(kind, "{problem}; {mend}", {"problem": problem, "mend": mend, "at": at})


def is_local(info: ValidationInfo) -> bool:
    """Whether paths may stand where the cluster wants URIs: only a context of `{"local": False}` forbids them."""
    return info.context is None or bool(info.context.get("local", True))


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that several fields of one object must fulfil together.

    `holds` gets anything with the attributes of the model (absent ones are None) and looks at this level only;
    `cel` is the same in the API server's language; `at` is the dotted camelCase field to blame, "" for the object.
    """

    cel: str
    holds: Callable[[Any], bool]
    problem: str
    mend: str
    at: str = ""

    def to_schema(self) -> dict[str, str]:
        """An entry of x-kubernetes-validations."""
        entry = {"rule": self.cel, "message": f"{self.problem}; {self.mend}"}
        return entry | ({"fieldPath": f".{self.at}"} if self.at else {})


class ApiModel(BaseModel):
    """Attributes are snake_case, the manifest's fields camelCase; unknown fields are errors; instances never change."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def broken_rules(cls, candidate: Any) -> Iterator[Rule]:
        return (rule for rule in cls.rules if not rule.holds(candidate))

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        if cls.rules:
            handler.resolve_ref_schema(schema)["x-kubernetes-validations"] = [rule.to_schema() for rule in cls.rules]
        return schema

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in self.broken_rules(self):
            raise mistake(rule.problem, rule.mend, kind=RULE, at=rule.at)
        return self
