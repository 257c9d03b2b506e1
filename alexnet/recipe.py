"""A recipe: everything that decides a run, as frozen dataclasses with the paper's values as defaults.

`alexnet.recipe_file` reads them from TOML. Each field says its unit and the section of the paper it
comes from; where the paper is silent, the reason for the value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from alexnet.errors import RecipeError

Resize = Literal["shorter", "warp"]
Precision = Literal["fp32", "tf32", "bf16"]


@dataclass(frozen=True)
class NetworkRecipe:
    """The network, section 3. Lists run over the layers, first to last."""

    # Number of classes of the last layer; 0 takes as many as the data set has (1000: section 2).
    classes: int = 1000
    # Columns the maps are spread over, section 3.2.
    columns: int = 2
    # Factor on every number of kernels and hidden neurons; 1 is the paper's width.
    width: float = 1.0
    # Side of the square the network sees, in pixels, section 4.1.
    crop: int = 224
    # Kernels of each convolution over all columns, before `width`, section 3.5.
    kernels: tuple[int, ...] = (96, 256, 384, 384, 256)
    # Side of each convolution's kernels in positions, and its stride, section 3.5.
    sizes: tuple[int, ...] = (11, 5, 3, 3, 3)
    strides: tuple[int, ...] = (4, 1, 1, 1, 1)
    # What each convolution sees: the maps of its own column or those of both, section 3.5.
    sees: tuple[Literal["own", "both"], ...] = ("both", "own", "both", "own", "own")
    # Steps after each convolution, in order: relu, lrn (across maps), map_norm (within a map), pool.
    steps: tuple[tuple[Literal["relu", "lrn", "map_norm", "pool"], ...], ...] = (
        ("relu", "lrn", "pool"),
        ("relu", "lrn", "pool"),
        ("relu",),
        ("relu",),
        ("relu", "pool"),
    )
    # Zeros around conv1's input: `after` as the 2012 source (224 -> 55), `both` 2 and 2, `none`.
    conv1_padding: Literal["after", "both", "none"] = "after"
    # Neurons of each hidden fully connected layer, before `width`, section 3.5.
    hidden: tuple[int, ...] = (4096, 4096)
    # Probability of zeroing a hidden fully connected layer's output, section 4.2; 0 switches dropout off.
    dropout: float = 0.5
    # Max pooling: side of the window and stride, in positions, section 3.4.
    pool_size: int = 3
    pool_stride: int = 2
    # Response normalisation across maps, section 3.3; alpha multiplies the sum of squares itself.
    lrn_size: int = 5
    lrn_alpha: float = 1e-4
    lrn_beta: float = 0.75
    lrn_k: float = 2.0
    # The maps it sums over: those of one column (the source), or of the whole layer.
    lrn_scope: Literal["column", "layer"] = "column"


@dataclass(frozen=True)
class StartRecipe:
    """Initial weights and biases, section 5. Lists run over all layers, convolutions first."""

    # Standard deviation of each layer's weights, drawn from a normal distribution with mean 0.
    spread: tuple[float, ...] = (0.01,) * 8
    # Each layer's initial bias: 1 in conv2, conv4, conv5 and the hidden fully connected layers.
    bias: tuple[float, ...] = (0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0)
    # Divide each spread by the root of the network's width factor, so that a narrow net starts alike.
    scale_by_width: bool = True


@dataclass(frozen=True)
class DataRecipe:
    """How pictures become the network's input, section 2."""

    # Side of the square pictures are brought to, in pixels.
    picture: int = 256
    # How: the shorter side to that many pixels, then the centre; or `warp`, both sides to it, as Caffe does.
    resize: Resize = "shorter"
    # What is subtracted: the mean of the training set per pixel and channel, or per channel.
    mean: Literal["pixel", "channel"] = "pixel"
    # What the centred pixels are divided by; 1 is the text, 1.1 the 2012 source.
    divisor: float = 1.0


@dataclass(frozen=True)
class AugmentRecipe:
    """Enlarging the training set, section 4.1."""

    # Random crops and horizontal mirrors; without them the centre crop is used.
    crops: bool = True
    mirrors: bool = True
    # Standard deviation of the factor on each principal component of the colours; 0 switches it off.
    colour: float = 0.1
    # Epoch after which the colour noise is switched off, as the 2012 source did late in training; 0: never.
    colour_until: int = 0


@dataclass(frozen=True)
class SgdRecipe:
    """Stochastic gradient descent, section 5: v := m v - d lr w - lr grad; w := w + v."""

    # Pictures in a batch.
    batch: int = 128
    # Learning rate at the start, per batch.
    learning_rate: float = 0.01
    # m: the share of the last update that is kept.
    momentum: float = 0.9
    # d: weight decay per update, times the learning rate.
    weight_decay: float = 0.0005
    # Factor on the learning rate of biases: 1 as the text, 2 as the 2012 source.
    bias_rate: float = 1.0
    # Whether weight decay falls on biases too: the text's rule names every weight, the 2012 source left them out.
    decay_biases: bool = True


@dataclass(frozen=True)
class ScheduleRecipe:
    """When the learning rate falls and training ends, section 5."""

    # Most passes over the training set.
    epochs: int = 90
    # Divide the learning rate by 10 after these epochs; empty lets the validation error decide.
    drop_after: tuple[int, ...] = ()
    # Epochs without a lower validation error before the learning rate is divided by 10.
    patience: int = 4
    # Times it is divided by 10; training stops when the next division would come.
    drops: int = 3
    # Epochs after which conv1 learns at a tenth of the rate, and not at all: the 2012 source's 67 and 72; 0: never.
    slow_conv1_after: int = 0
    freeze_conv1_after: int = 0


@dataclass(frozen=True)
class ComputeRecipe:
    """The arithmetic of training; the paper's is float32."""

    # Type of the products: float32; tf32, which rounds their factors to 10 bits on a GPU and is float32 on a CPU; or
    # bfloat16 under autocast, with weights and sums in float32.
    precision: Precision = "fp32"
    # Whether torch.compile makes the network's code: a minute at the start, for fewer passes over memory.
    compile: bool = False


@dataclass(frozen=True)
class OriginRecipe:
    """Where weights came from that were not trained here from a random start; `alexnet import` fills it in."""

    # The published net that the weights are of; "" when they were trained here.
    kind: Literal["", "bvlc_alexnet", "caffenet", "torchvision"] = ""
    # Name and SHA-256 of the file of weights, and of the file of the mean where there was one.
    weights: str = ""
    weights_sha256: str = ""
    mean: str = ""
    mean_sha256: str = ""
    # Order of the colours in the file; the imported weights are RGB.
    channels: Literal["", "RGB", "BGR"] = ""
    # What of the original became part of the imported weights, and what differs from it, in words.
    folded: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    # Whether training went on from the imported weights.
    tuned: bool = False


@dataclass(frozen=True)
class Recipe:
    """One run. `name` names the run's folder; `seed` fixes every random draw."""

    name: str = "imagenet"
    seed: int = 0
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    start: StartRecipe = field(default_factory=StartRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    sgd: SgdRecipe = field(default_factory=SgdRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    compute: ComputeRecipe = field(default_factory=ComputeRecipe)
    origin: OriginRecipe = field(default_factory=OriginRecipe)

    def __post_init__(self) -> None:
        """Refuse values that cannot be trained, naming the field and what was expected."""
        network = self.network
        convolutions = len(network.kernels)
        for name in ("sizes", "strides", "sees", "steps"):
            if len(getattr(network, name)) != convolutions:
                raise RecipeError(
                    f"network.{name} has {len(getattr(network, name))} entries, expected {convolutions}: "
                    f"one for each of network.kernels"
                )
        layers = convolutions + len(network.hidden) + 1
        for name in ("spread", "bias"):
            if len(getattr(self.start, name)) != layers:
                raise RecipeError(
                    f"start.{name} has {len(getattr(self.start, name))} entries, expected {layers}: "
                    f"one for each convolution and fully connected layer"
                )
        for name, value, holds, expected in (
            ("network.classes", network.classes, network.classes >= 0, "0 or more"),
            ("network.columns", network.columns, network.columns >= 1, "1 or more"),
            ("network.width", network.width, network.width > 0, "more than 0"),
            ("network.dropout", network.dropout, 0 <= network.dropout < 1, "at least 0 and below 1"),
            ("network.lrn_size", network.lrn_size, network.lrn_size % 2 == 1 and network.lrn_size > 0, "odd"),
            (
                "network.crop",
                network.crop,
                0 < network.crop <= self.data.picture,
                f"at most data.picture ({self.data.picture})",
            ),
            ("data.divisor", self.data.divisor, self.data.divisor > 0, "more than 0"),
            ("sgd.bias_rate", self.sgd.bias_rate, self.sgd.bias_rate >= 0, "0 or more"),
            ("sgd.batch", self.sgd.batch, self.sgd.batch >= 1, "1 or more"),
            ("sgd.learning_rate", self.sgd.learning_rate, self.sgd.learning_rate > 0, "more than 0"),
            ("schedule.epochs", self.schedule.epochs, self.schedule.epochs >= 0, "0 or more"),
            ("schedule.patience", self.schedule.patience, self.schedule.patience >= 1, "1 or more"),
        ):
            if not holds:
                raise RecipeError(
                    f"{name} is {value}, expected {expected}; change it in the recipe or with --set {name}=VALUE"
                )
