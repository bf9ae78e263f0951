"""The model card: what a surrogate takes, gives, was trained on, and how far it can be trusted."""

from __future__ import annotations

from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from twin.files import FileName
from twin.units import to_si

Method = Literal["bias", "residual", "retrain"]
"""How a model was calibrated: see `surrogates.calibration`."""
METADATA_KEY = "linetwin.card"
"""Where an ONNX file carries its card."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(_Part):
    """An input or output of a model; what lies beyond its range counts as extrapolation."""

    name: str
    unit: str
    """In which the model works; it is converted from and to SI at the border."""
    low: float
    """Least value seen in training, in the unit."""
    high: float
    """Largest value seen in training, in the unit."""

    @field_validator("unit")
    @classmethod
    def _known(cls, unit: str) -> str:
        to_si(unit)
        return unit

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.high:
            raise ValueError(f"{self.name}: low {self.low:g} is above high {self.high:g}")
        return self


class Product(_Part):
    """A product of powers of inputs, in their units, whose range bounds the domain as well.

    Inputs that only go together, such as pump flow and line speed, are bounded by it where a box
    would hold combinations that no training sample came near.
    """

    name: str
    powers: dict[str, float]
    low: float
    high: float


class Errors(_Part):
    """Errors of one output on samples that the training never saw, in the unit of the output."""

    r2: float
    mae: float
    rmse: float
    max_abs: float


class Training(_Part):
    """Where the model comes from."""

    design: str
    """How the samples were chosen."""
    seed: int
    samples: int
    held_out: int
    """Further samples, of another seed, on which the errors were found."""


class Parent(_Part):
    """The model that was calibrated."""

    version: str
    sha256: str
    """Of the ONNX file."""


class Source(_Part):
    """A recording whose material was learnt from."""

    name: str
    """Of its folder."""
    manifest_sha256: str
    samples: int


class Comparison(_Part):
    """Errors of one output on blocks of material that were held out in turn, in its unit."""

    rows: int
    """Measured segments."""
    champion: Errors | None
    """None where there was no model before."""
    calibrated: Errors


class Lineage(_Part):
    """What a model was made of from a plant's data."""

    method: str
    """bias, residual or retrain."""
    parent: Parent | None
    """None where the plant's data alone made it."""
    recordings: tuple[Source, ...]
    rolls: int
    """Rolls of known genealogy among them."""
    rows: int
    """Segments that were learnt from."""
    physics_rows: int = 0
    """Designed samples of the physics that were learnt from beside them, with the same weight."""
    seed: int
    blocks: str
    """How material was held out."""
    learnt: tuple[str, ...]
    """Outputs that changed; the others are the parent's."""
    cross_validation: dict[str, Comparison]
    """By output that changed."""


class Card(_Part):
    """All that a step needs to know of a model, kept beside the ONNX file and inside it."""

    name: str
    version: FileName
    """A part of the names of copies."""
    step: str
    kind: str
    """What sort of model it is, in a few words."""
    inputs: tuple[Quantity, ...]
    """In the order of the columns."""
    outputs: tuple[Quantity, ...]
    """In the order of the columns."""
    products: tuple[Product, ...] = ()
    errors: dict[str, Errors] = {}
    """By output; without them and without a std output the uncertainty is taken as zero."""
    training: Training | None = None
    lineage: Lineage | None = None
    """Of a model that was calibrated or trained on a plant's data."""
    code_versions: dict[str, str] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for kind, quantities in (("input", self.inputs), ("output", self.outputs)):
            names = [quantity.name for quantity in quantities]
            if not names:
                raise ValueError(f"the card names no {kind}")
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"the card names {kind} {', '.join(twice)} twice")
        known = {quantity.name for quantity in self.inputs}
        for product in self.products:
            if unknown := sorted(set(product.powers) - known):
                raise ValueError(f"product {product.name} uses {', '.join(unknown)}, no input")
        if unknown := sorted(set(self.errors) - {quantity.name for quantity in self.outputs}):
            raise ValueError(f"errors are given for {', '.join(unknown)}, no output")
        return self

    @staticmethod
    def parse(text: str, origin: str) -> Card:
        """The card written in YAML (or JSON, which is YAML).

        Raises:
            ValueError: with `origin` and everything that is wrong.
        """
        try:
            return Card.model_validate(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ValueError(f"{origin} is no YAML: {error}") from error
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc']) or 'card'}: {problem['msg']}"
                for problem in error.errors()
            )
            raise ValueError(f"{origin} is no model card: {problems}") from error

    def text(self) -> str:
        """The card in YAML."""
        left_out = {"lineage"} if self.lineage is None else None
        content = self.model_dump(mode="json", exclude=left_out)
        return yaml.safe_dump(content, sort_keys=False, width=100)
