"""What `edgecomp quantize` can be told: presets, and every choice that a preset makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from edgecomp.errors import Problem, UsageError, raise_all
from edgecomp.project import refuse_unknown

MOST_BITS = 16
LEAST_CODE = 2  # Brevitas exports a code of one bit as bipolar, whatever it was


class Form(StrEnum):
    """The form of weights: integers, plus or minus one scale, or zero and plus or minus powers of two."""

    INTEGER = "integer"
    BINARY = "binary"
    POWER_OF_TWO = "power_of_two"


class Granularity(StrEnum):
    """Whether a layer's weights share one scale or each output channel has its own."""

    CHANNEL = "channel"
    TENSOR = "tensor"


class Rounding(StrEnum):
    """How an activation becomes a code: to the nearest, ties to even, or down."""

    ROUND = "round"
    FLOOR = "floor"


class Scales(StrEnum):
    """What scales may be: any float32, or powers of two, behind which a rescaling is a shift."""

    FLOAT = "float"
    POWER_OF_TWO = "power_of_two"


class Equalisation(StrEnum):
    """How the ranges of channels are evened out before calibration: by weights, by activations, or not."""

    CROSS_LAYER = "cross_layer"
    ACTIVATION = "activation"
    NONE = "none"


class Preset(StrEnum):
    """The names that --preset takes."""

    INT8 = "int8"
    INT6 = "int6"
    INT4 = "int4"
    BINARY = "binary"
    POW2 = "pow2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bits:
    """Widths of one layer: its weights, and the codes that its result becomes; None where the preset says."""

    weights: int | None = None
    codes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides how a float network is quantised. `layers` holds widths that differ, by layer."""

    form: Form
    weight_bits: int
    code_bits: int
    input_bits: int
    granularity: Granularity = Granularity.CHANNEL
    rounding: Rounding = Rounding.ROUND
    scales: Scales = Scales.FLOAT
    equalisation: Equalisation = Equalisation.CROSS_LAYER
    bias_correction: bool = True
    sparsity: float = 0.0
    layers: tuple[tuple[str, Bits], ...] = ()

    def weights_of(self, layer: str) -> int:
        """Bits of a layer's weights."""
        return dict(self.layers).get(layer, Bits()).weights or self.weight_bits

    def codes_of(self, layer: str) -> int:
        """Bits of the codes that a layer's result becomes."""
        return dict(self.layers).get(layer, Bits()).codes or self.code_bits


PRESETS: Mapping[Preset, Recipe] = {
    Preset.INT8: Recipe(form=Form.INTEGER, weight_bits=8, code_bits=8, input_bits=8),
    Preset.INT6: Recipe(form=Form.INTEGER, weight_bits=6, code_bits=6, input_bits=6),
    Preset.INT4: Recipe(form=Form.INTEGER, weight_bits=4, code_bits=4, input_bits=4),
    Preset.BINARY: Recipe(form=Form.BINARY, weight_bits=1, code_bits=2, input_bits=8),
    Preset.POW2: Recipe(form=Form.POWER_OF_TWO, weight_bits=4, code_bits=8, input_bits=8, scales=Scales.POWER_OF_TWO),
}


def rate_of(preset: Preset) -> float:
    """The learning rate of tuning where none is asked for: binary weights must change their sign to change at all."""
    return 2e-2 if preset is Preset.BINARY else 2e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user said beside a preset; None where nothing was said."""

    preset: Preset = Preset.INT8
    weight_bits: int | None = None
    code_bits: int | None = None
    input_bits: int | None = None
    granularity: Granularity | None = None
    rounding: Rounding | None = None
    scales: Scales | None = None
    equalisation: Equalisation | None = None
    bias_correction: bool = True
    sparsity: float = 0.0
    layers: Mapping[str, Bits] = field(default_factory=dict)


def recipe_of(asked: Asked) -> Recipe:
    """The preset with the user's changes; flooring takes power-of-two scales unless others are asked for.

    UsageError for widths, a sparsity or a form of weights that cannot be.
    """
    base = PRESETS[asked.preset]
    rounding = asked.rounding or base.rounding
    usual = Scales.POWER_OF_TWO if rounding is Rounding.FLOOR else base.scales
    recipe = Recipe(
        form=base.form,
        weight_bits=base.weight_bits if asked.weight_bits is None else asked.weight_bits,
        code_bits=base.code_bits if asked.code_bits is None else asked.code_bits,
        input_bits=base.input_bits if asked.input_bits is None else asked.input_bits,
        granularity=asked.granularity or base.granularity,
        rounding=rounding,
        scales=asked.scales or usual,
        equalisation=asked.equalisation or base.equalisation,
        bias_correction=asked.bias_correction,
        sparsity=asked.sparsity,
        layers=tuple(sorted(asked.layers.items())),
    )
    raise_all(UsageError, _problems(recipe))
    return recipe


def weight_limits(form: Form) -> tuple[int, int]:
    """The fewest and the most bits of weights of a form. Powers of two: a sign and 2^(b - 1) - 1 exponents, or zero."""
    match form:
        case Form.INTEGER:
            return 2, MOST_BITS
        case Form.BINARY:
            return 1, 1
        case Form.POWER_OF_TWO:
            return 3, 5


def _problems(recipe: Recipe) -> list[Problem]:
    least, most = weight_limits(recipe.form)
    asked = [
        ("--weight-bits", recipe.weight_bits, least, most),
        ("--code-bits", recipe.code_bits, LEAST_CODE, MOST_BITS),
        ("--input-bits", recipe.input_bits, LEAST_CODE, MOST_BITS),
    ]
    for layer, bits in recipe.layers:
        asked.append((f"--bits {layer}", bits.weights or least, least, most))
        asked.append((f"--bits {layer}", bits.codes or LEAST_CODE, LEAST_CODE, MOST_BITS))
    problems = [Problem(what=f"{recipe.form} weights and their codes cannot have {bits} bits here", where=option,
                        hint=f"give {low} to {high}" if low < high else f"{recipe.form} weights have {low}")
                for option, bits, low, high in asked if not low <= bits <= high]  # fmt: skip
    if not 0 <= recipe.sparsity < 1:
        problems.append(
            Problem(what=f"sparsity cannot be {recipe.sparsity:g}", where="--sparsity",
                    hint="give the share of weights to leave out, such as 0.5; 1 would leave nothing")
        )  # fmt: skip
    elif recipe.sparsity and recipe.form is Form.BINARY:
        problems.append(Problem(what="binary weights cannot be zero, so that none can be left out", where="--sparsity",
                                hint="leave it out, or use --preset int4"))  # fmt: skip
    return problems


def parse_bits(pairs: Sequence[str]) -> dict[str, Bits]:
    """--bits' LAYER=WEIGHTS or LAYER=WEIGHTS:CODES; the last one of a layer holds."""
    parsed, problems = {}, []
    for pair in pairs:
        layer, equals, text = pair.rpartition("=")
        weights, colon, codes = text.partition(":")
        sound = all(
            part.isascii() and part.isdecimal() and int(part) for part in (weights, *([codes] if colon else []))
        )
        if not (layer and equals and sound):
            problems.append(Problem(what=f"{pair!r} is not of the form LAYER=WEIGHTS or LAYER=WEIGHTS:CODES",
                                    where="--bits", hint="for instance --bits fc1=4, or --bits fc1=4:6"))  # fmt: skip
            continue
        parsed[layer] = Bits(weights=int(weights), codes=int(codes) if colon else None)
    raise_all(UsageError, problems)
    return parsed


def check_layers(recipe: Recipe, layers: Sequence[str]) -> None:
    """UsageError for widths of layers that the network lacks, with the nearest names."""
    refuse_unknown([layer for layer, _ in recipe.layers], layers, kind="layer", where="--bits")
