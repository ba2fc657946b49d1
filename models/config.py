"""The union of model configurations, told apart by ``kind``. Importing this module loads no torch.

A family is one file of ``models`` and one class here: the file has ``fit(config, data, *, seed, progress, checkpoint)``
and a model class with ``restore``. It is imported only when a model is built or restored.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

if TYPE_CHECKING:
    from torch import Tensor

    from models.base import Fitted, Grid, Progress, ScenarioModel, TrainingData


class ModelConfig(BaseModel):
    """What all families have in common.

    Attributes:
        module: The file of ``models`` that holds the family.
        version: Part of a model's fingerprint: raised when a change of code changes what a fit or a sample gives.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    module: ClassVar[str]
    version: ClassVar[int] = 5

    @property
    def is_quick(self) -> bool:
        """Whether it fits in seconds, so that many folds can be afforded."""
        return True

    @property
    def refits(self) -> bool:
        """Whether, when early stopping is over, it is fitted anew on the validation years too."""
        return False

    @property
    def versions(self) -> tuple[int, ...]:
        """The version of this family, and of those it is made of."""
        return (self.version,)

    @property
    def reach(self) -> int:
        """How many past states a fit may come to look at; that of a fold may choose more than that of the record."""
        return 1

    def settled(self, notes: Mapping[str, Any], *, share: float = 1.0) -> Self:
        """This configuration with all that a fit found on the validation years.

        Args:
            notes: Of that fit.
            share: Of the training and validation years together, what is to be fitted on.
        """
        return self

    def build(
        self, data: "TrainingData", *, seed: int, progress: "Progress | None" = None, checkpoint: Path | None = None
    ) -> "Fitted":
        """Fit the model.

        Args:
            data: What the fit may see.
            seed: Seed of initial weights, shuffling and noise in training.
            progress: Called now and then by families that take long.
            checkpoint: Folder for checkpoints of a long training, from which a killed one goes on.
        """
        return import_module(f"models.{self.module}").fit(
            self, data, seed=seed, progress=progress, checkpoint=checkpoint
        )

    def restore(self, arrays: "Mapping[str, Tensor]", *, grid: "Grid") -> "ScenarioModel":
        """The model that ``arrays`` came from."""
        return import_module(f"models.{self.module}").Model.restore(self, arrays, grid=grid)


class ClimatologyConfig(ModelConfig):
    """Residuals of the training years, resampled in blocks from the same season: the reference of every score.

    Attributes:
        block: Steps in a block; by default a year of them, or ten where a step is a year.
    """

    module: ClassVar[str] = "climatology"
    kind: Literal["climatology"] = "climatology"
    block: PositiveInt | None = None


MOST_LAGS = 3
"""Past states that cross-validation tries, at most."""

Folds = Annotated[int, Field(ge=2, le=50)]
"""Folds of consecutive years in which choices are made and noise is learnt; fewer where there are fewer years."""


class DampedPersistenceConfig(ModelConfig):
    """Each cell forgets its anomaly at a rate of its own.

    Attributes:
        folds: Folds of years.
    """

    module: ClassVar[str] = "persistence"
    kind: Literal["damped_persistence"] = "damped_persistence"
    folds: Folds = 6


class LinearInverseConfig(ModelConfig):
    """A linear inverse model: EOF scores that depend on those of one step before.

    Attributes:
        eofs: How many EOFs; chosen by cross-validation when not given.
        ridge: Penalty in units of the predictors' variance; chosen by cross-validation when not given.
        folds: Folds of years.
    """

    module: ClassVar[str] = "linear"
    kind: Literal["linear_inverse"] = "linear_inverse"
    eofs: PositiveInt | None = None
    ridge: PositiveFloat | None = None
    folds: Folds = 6


class VectorAutoregressiveConfig(ModelConfig):
    """A vector autoregression: EOF scores that depend on those of several steps before.

    Attributes:
        eofs: How many EOFs; chosen by cross-validation when not given.
        lags: How many past steps; chosen by cross-validation, up to three, when not given.
        ridge: Penalty in units of the predictors' variance; chosen by cross-validation when not given.
        folds: Folds of years.
    """

    module: ClassVar[str] = "linear"
    kind: Literal["vector_autoregressive"] = "vector_autoregressive"
    eofs: PositiveInt | None = None
    lags: PositiveInt | None = None
    ridge: PositiveFloat | None = None
    folds: Folds = 6

    @property
    def reach(self) -> int:
        """As many lags as are given, or are tried."""
        return self.lags or MOST_LAGS


class DirectRidgeConfig(ModelConfig):
    """Damped persistence and a ridge regression of what it misses, for each lead of a window; dressed with past errors.

    Attributes:
        leads: Steps in a window, at most; fewer where folds of a short record carry no longer ones. Longer horizons
            chain windows.
        eofs: How many EOFs; chosen by cross-validation when not given.
        lags: How many past steps; chosen by cross-validation, up to three, when not given.
        folds: Folds of years.
    """

    module: ClassVar[str] = "ridge"
    kind: Literal["direct_ridge"] = "direct_ridge"
    leads: PositiveInt = 10
    eofs: PositiveInt | None = None
    lags: PositiveInt | None = None
    folds: Folds = 6

    @property
    def reach(self) -> int:
        """As many lags as are given, or are tried."""
        return self.lags or MOST_LAGS


class ResidualBlocksConfig(ModelConfig):
    """Pattern scaling: a response to the forcing, and blocks of the residuals of years left out of its fit.

    Attributes:
        block: Steps in a block; by default a year of them, or ten where a step is a year.
        link: Whether the initial state is remembered, as an AR(1) in each cell.
        uncertain_response: Whether each member has a response of its own, as uncertain as the folds are apart.
        folds: Folds of years.
    """

    module: ClassVar[str] = "pattern"
    kind: Literal["residual_blocks"] = "residual_blocks"
    block: PositiveInt | None = None
    link: bool = True
    uncertain_response: bool = True
    folds: Folds = 5


class NetworkConfig(ModelConfig):
    """What the neural families have in common.

    Attributes:
        size: Named size of the network; see `models.networks.SIZES`.
        effort: How many times the size's own number of batches the family trains by default.
        steps: Batches of training; the size's own number, times the effort, by default.
        batch: Windows in a batch.
        history: Past states the model sees.
        base: Linear expectation that the network corrects.
        modes: EOFs of that expectation, at most.
        folds: Stretches of the record by which its residuals are taken out of fold.
        learning_rate: At its highest.
        weight_decay: Of AdamW.
        dropout: Share of channels dropped in training.
        ema: Decay of the weights' moving average, per step.
        patience: Looks at the validation loss without improvement before training ends; None for never.
        refit: Whether, when early stopping is over, everything is fitted anew on the validation years too, for as many
            passes over the record as early stopping chose.
    """

    version: ClassVar[int] = 7
    effort: ClassVar[int] = 1
    size: Literal["tiny", "small", "base", "large"] = "tiny"
    steps: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=1)] = 16
    history: Annotated[int, Field(ge=1)] = 3
    base: Literal["persistence", "damped", "linear"] = "linear"
    modes: Annotated[int, Field(ge=1)] = 40
    folds: Annotated[int, Field(ge=2)] = 5
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    patience: Annotated[int, Field(ge=1)] | None = 8
    refit: bool = True

    @property
    def is_quick(self) -> bool:
        """Networks take minutes."""
        return False

    @property
    def refits(self) -> bool:
        """As the configuration says."""
        return self.refit

    @property
    def reach(self) -> int:
        """As the configuration says."""
        return self.history

    def settled(self, notes: Mapping[str, Any], *, share: float = 1.0) -> Self:
        """With the length of the training: as many passes over what is to be fitted on."""
        more = share * (1 + notes["validation_windows"] / notes["training_windows"])
        return self.model_copy(update={"steps": max(1, round(more * notes["best_step"]))})


class AutoregressiveConfig(NetworkConfig):
    """A network that draws the next state, trained on the CRPS of its ensembles.

    Attributes:
        alpha: Share of the fair score in the training loss; the rest is the plain one.
        noise_modes: Residual EOFs in the field of noise, at most.
        spread_factor: Factor on the deviation of the noise; found on the validation years when not given.
    """

    module: ClassVar[str] = "autoregressive"
    kind: Literal["autoregressive"] = "autoregressive"
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.95
    noise_modes: Annotated[int, Field(ge=1)] = 96
    spread_factor: PositiveFloat | None = None

    def settled(self, notes: Mapping[str, Any], *, share: float = 1.0) -> Self:
        """With the spread, too."""
        return super().settled(notes, share=share).model_copy(update={"spread_factor": notes["spread_factor"]})


class DiffusionConfig(NetworkConfig):
    """Diffusion of windows of several steps, conditioned on past states, season and forcing.

    Attributes:
        window: Steps drawn together.
        noise_modes: EOFs of the remainder's Gaussian law, at most.
        condition_dropout: Share of windows in training that do without each condition.
        sampler: Deterministic with one or two network calls per step, or stochastic.
        sampler_steps: Noise levels of a draw.
        guidance: Strength of the conditions in a draw: 1 for the law given them, less for a draw nearer to the climate.
        largest_noise: Largest noise level, in deviations of the strongest pattern.
        smallest_noise: Smallest noise level, in deviations of a cell.
    """

    module: ClassVar[str] = "diffusion"
    effort: ClassVar[int] = 3
    kind: Literal["diffusion"] = "diffusion"
    window: Annotated[int, Field(ge=1)] = 10
    noise_modes: Annotated[int, Field(ge=1)] = 96
    condition_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    sampler: Literal["dpm", "heun", "ancestral"] = "dpm"
    sampler_steps: Annotated[int, Field(ge=2)] = 12
    guidance: Annotated[float, Field(ge=0)] = 1.0
    largest_noise: Annotated[float, Field(gt=0)] = 2.0
    smallest_noise: Annotated[float, Field(gt=0)] = 0.2


class PoolConfig(ModelConfig):
    """Some members from one model, some from another.

    Attributes:
        models: The models, at least two.
        weights: Their shares of the members; chosen on hindcasts when not given.
        folds: Folds of the record that those hindcasts leave out, where every model fits in seconds.
        leads: Steps of the hindcasts that weights are chosen on.
        members: Members of those hindcasts.
        cases: At most about so many of them.
    """

    version: ClassVar[int] = 6
    module: ClassVar[str] = "pool"
    kind: Literal["pool"] = "pool"
    models: Annotated[tuple["AnyModelConfig", ...], Field(min_length=2)]
    weights: tuple[NonNegativeFloat, ...] | None = None
    folds: Folds = 4
    leads: PositiveInt = 10
    members: Annotated[int, Field(ge=2)] = 10
    cases: PositiveInt = 60

    @property
    def versions(self) -> tuple[int, ...]:
        """The version of this family, and of those it is made of."""
        return (self.version, *(version for model in self.models for version in model.versions))

    @property
    def is_quick(self) -> bool:
        """Whether all of its models are."""
        return all(model.is_quick for model in self.models)

    @property
    def refits(self) -> bool:
        """Whether a model of it does."""
        return any(model.refits for model in self.models)

    @property
    def reach(self) -> int:
        """The most of its models."""
        return max(model.reach for model in self.models)

    def settled(self, notes: Mapping[str, Any], *, share: float = 1.0) -> Self:
        """With the weights, and every model settled."""
        models = tuple(
            model.settled(each, share=share) for model, each in zip(self.models, notes["models"], strict=True)
        )
        return self.model_copy(update={"models": models, "weights": tuple(notes["weights"])})

    @model_validator(mode="after")
    def _weigh_every_model(self) -> Self:
        if self.weights is not None and (len(self.weights) != len(self.models) or not sum(self.weights)):
            raise ValueError(f"give one weight for each of the {len(self.models)} models, not all of them zero")
        return self


AnyModelConfig = Annotated[
    ClimatologyConfig
    | DampedPersistenceConfig
    | LinearInverseConfig
    | VectorAutoregressiveConfig
    | DirectRidgeConfig
    | ResidualBlocksConfig
    | PoolConfig
    | AutoregressiveConfig
    | DiffusionConfig,
    Field(discriminator="kind"),
]
"""Any model's configuration; a wrong ``kind`` is refused and the valid ones are named."""

PoolConfig.model_rebuild()
