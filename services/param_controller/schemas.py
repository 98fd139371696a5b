"""What the param-controller is asked and what it answers."""

from pydantic import Field

from tidewheel.contracts.strategies import StrategySchema
from tidewheel.kit.schemas import Answer


class SchemaView(Answer):
    """A strategy's schema as it is in force."""

    strategy: str = Field(examples=["momentum_breakout"])
    policy_version: str = Field(
        description="Changes with whatever changes a pick: policy, context, reward, guardrails.",
        examples=["lints-1a2b3c4d"],
    )
    context_signature: str = Field(description="Of what the numbers of a context mean; one posterior for each.")
    definition: StrategySchema = Field(description="The file, defaults filled in.")

    @classmethod
    def of(cls, schema: StrategySchema) -> "SchemaView":
        """The view of a schema."""
        return cls(
            strategy=schema.strategy,
            policy_version=schema.policy_version,
            context_signature=schema.context_signature,
            definition=schema,
        )


class SchemaList(Answer):
    """Every strategy that has a schema."""

    schemas: list[SchemaView]
