"""The sections of a configuration. A field's docstring is its help text and its description in the JSON schema.

Every class forbids unknown keys.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gandist.config.schedule import Schedule
from gandist.options import Options


class Section(Options):
    """A part of the configuration."""


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def one_or_more(value: object) -> tuple[object, ...]:
    """A list as a tuple; a single value as a tuple of one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Norm = Literal["batch", "sync", "group", "spectral", "weight", "none"]


class RunSection(Section):
    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run: its folder inside `run.dir`. A start with the same name resumes the same run."""
    dir: str = "runs"
    """Folder of all runs, or `s3://bucket/prefix`. Every worker must be able to reach it."""
    seed: int = Field(0, ge=0)
    """Decides the initial weights, the order of the images, and all noise."""


class DataSection(Section):
    path: str = "builtin:fashion-10k"
    """Folder or URL of indexed shards (`python -m gandist.pack` makes them), or a `builtin:` set."""
    medium: str = "image"
    """Kind of sample: one of the names in `gandist.media.kinds.MEDIA`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the medium that have no field of their own (`data.channels`, `data.flip`, `model.resolution` do)."""
    channels: Literal[1, 3] = 3
    """Colour channels that the networks see; images are converted to this number."""
    flip: bool = False
    """Mirror each image left to right with probability one half, on the device."""
    on_damage: Literal["stop", "skip"] = "stop"
    """On a damaged sample: `stop` ends the run and names the shard; `skip` takes the next sound one and counts it."""
    cache_dir: str | None = None
    """Node-local cache of fetched shards and decoded images (default: `$XDG_CACHE_HOME/gandist`)."""
    cache_gib: float = Field(50.0, gt=0)
    """Upper bound of the cache in GiB. Sets whose decoded size is below half of it are decoded once."""
    decode_threads: int = Field(2, ge=1)
    """Image decoding threads per rank."""
    prefetch: int = Field(3, ge=1)
    """Batches that each rank loads ahead of the step."""
    resident: Literal["auto", "always", "never"] = "auto"
    """Whether each rank keeps all decoded images in its device's memory. `auto`: on a GPU, if they take at most a
    quarter of the memory that the networks leave free and fit the cache. `always` refuses a run that lacks the memory.
    The batches are the same either way."""


class ModelSection(Section):
    name: str = "dcgan"
    """The network pair: one of the names in `gandist.gan.networks`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the pair that have no field of their own."""
    resolution: Literal[32, 64, 128, 256] = 32
    """Height and width of the images in pixels."""
    z_dim: int = Field(100, ge=0)
    """Dimension of the latent z. A G that is given a sample may have 0: then it gives one result per input."""
    width: int = Field(64, ge=1)
    """Channels at the highest resolution; each halving of the resolution doubles them, as in the pair's paper."""
    classes: int = Field(0, ge=0)
    """Number of classes the pair is conditioned on; 0 for an unconditional pair."""
    text_dim: int = Field(0, ge=0)
    """Dimension of the caption vectors that the pair is conditioned on (384 for `gandist.pack --captions`); 0 for a
    pair without captions."""
    norm: Norm | None = None
    """Normalisation inside both networks (default: that of the pair's paper)."""
    norm_D: Norm | None = None
    """Normalisation of D, if it differs; `spectral` and `weight` normalise weights."""
    widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(one_or_more)] = ()
    """Channels of every level from 4x4 up, for pairs that take a number per level (`r3gan`)."""
    minibatch_std: int = Field(0, ge=0)
    """Images in a group of D's minibatch standard deviation; 0 for none."""
    stage_1: str | None = None
    """First-stage run of a second stage (`stackgan-2`): the folder `run.dir/run.name`. A new run copies its G, which
    stays frozen."""
    stage_1_resolution: Literal[0, 32, 64, 128] = 0
    """Resolution of the first-stage run."""


class ConditionSection(Section):
    kind: str = "auto"
    """What G is given besides its latents. `auto`: classes or captions, if `model.classes` or `model.text_dim` is set.
    `degraded`, `masked`, `itself`: a copy of the real sample, degraded, with holes, or unchanged (an autoencoder).
    `paired`: the input sample of a set of pairs. `mel`: the mel spectrogram of a sound (a vocoder)."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of `degraded` (`scale`, `operations`, ...), of `masked` (`kinds`) and of `mel` (`n_fft`, `hop`, `window`,
    `mels`, `low_hz`, `high_hz`)."""


class Penalty(Section):
    """A term added to a player's loss: `{weight, interval}`, or the weight alone."""

    weight: Schedule = 1.0
    """Its factor, the symbol in its paper (gamma of R1, lambda of the gradient penalty): a number or a schedule."""
    interval: int = Field(1, ge=1)
    """Lazy regularisation: compute the term once every this many updates, with its weight multiplied by this number."""


def _penalties(value: object) -> object:
    """Expand `{r1: 10}` to `{r1: {weight: 10}}`; a schedule likewise."""
    if not isinstance(value, dict):
        return value

    def whole(term: object) -> object:
        is_weight = isinstance(term, int | float | str) or (isinstance(term, dict) and "start" in term)
        return {"weight": term} if is_weight else term

    return {name: whole(term) for name, term in value.items()}


class GameSection(Section):
    objective: str = "ns"
    """The two players' losses: one of the names in `gandist.gan.objectives.OBJECTIVES`. `elbo` trains a VAE. With
    `none` G learns from its penalties alone, such as `l1`. With `likelihood` it maximises the likelihood of the real
    samples (`relgan`). A run `--from` one of the last two can go on with a D."""
    n_critic: int = Field(1, ge=1)
    """Updates of D for each update of G; each takes a fresh global batch."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """One-sided label smoothing: real images are labelled 1 minus this for D."""
    penalties: Annotated[dict[str, Penalty], BeforeValidator(_penalties)] = Field(default_factory=dict)
    """Terms added to the losses, by their names in `gandist.gan.penalties.PENALTIES`."""
    perceptual: str = "effnet-lite0"
    """Network whose features the penalty `perceptual` compares: `effnet-lite0` (`gandist[eval]`), `classifier` (of
    garments), or a TorchScript file of your own."""
    differentiate: Literal["auto", "linear", "jvp", "double"] = "auto"
    """How to differentiate penalties on D's slope; results are equal up to rounding. `linear` needs a piecewise-linear
    D (such as that of `r3gan`) and no second derivative. `jvp` is a Jacobian-vector product. `double` is a second
    backward pass, which BatchNorm in D requires. `auto`: `linear` if D allows it, else `jvp`."""
    weight_G: Schedule = 1.0
    """Factor of the objective in G's loss: a number or a schedule. With `{start: 0, end: 1, over_kimg: 50, shape:
    step}` G learns from its penalties alone at first, while D already learns."""
    adaptive: bool = False
    """Also multiply the objective in G's loss by a ratio of gradient norms at G's last layer: that of the penalties
    that compare with a target, over that of the objective (VQGAN). At most 10,000. For `autoencoder`."""
    temperature: Schedule = 1.0
    """For a G that draws symbols (`relgan`): temperature of the softmax whose shares D sees in training, a number or a
    schedule. The lower it is, the nearer the shares are to single symbols. Samples are always drawn at 1."""
    clip: Schedule = 0.0
    """WGAN's weight clipping: after each update, clip every weight of D to [-clip, clip]; 0 for none."""


class AugmentSection(Section):
    kind: str = "none"
    """Augmentation of D's inputs, real and generated: `none`, or a name in `gandist.gan.augment.AUGMENTATIONS`."""
    p: Schedule = 1.0
    """Probability of each transformation (`ada`) or of all of them together (the others): a number or a schedule. The
    initial value if p adapts."""
    target: float | None = Field(None, gt=0, lt=1)
    """Adapt p so that the mean sign of D's scores of real images stays at this value (ADA; 0.6 in its paper). Not for
    `rp` and `wasserstein`, where only differences of scores count, nor for `ls`, whose scores tend to 0 and 1."""
    speed_kimg: float = Field(500.0, gt=0)
    """Thousands of images in which an adapting p can go from 0 to 1."""


class OptimSection(Section):
    lr_G: Schedule = 2e-4
    """Adam's learning rate for G: a number, or `{start, end, over_kimg, shape}`."""
    lr_D: Schedule = 2e-4
    """Adam's learning rate for D: a number, or `{start, end, over_kimg, shape}`."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Schedule] = (0.5, 0.999)
    """Adam's beta1 and beta2; the second may be a schedule."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay (AdamW), for both players."""
    ema_half_life_kimg: Schedule = 10.0
    """Half-life, in thousands of images, of the running average of G's weights; samples come from this average."""
    ema_rampup: float | None = Field(None, gt=0)
    """Upper bound of the half-life, as a share of the images seen: it acts early in the run (StyleGAN2: 0.05)."""
    gradients: Literal["full", "bf16"] = "full"
    """Number format in which workers average gradients. `full`: that of the weights. `bf16`: half of float32's bytes;
    N workers then train what one trains only to the rounding of bf16 (8 bits). One worker alone rounds nothing."""


class TrainSection(Section):
    total_kimg: float = Field(1000.0, gt=0)
    """Length of the run in thousands of real images shown to D, over all ranks."""
    batch: int = Field(128, ge=1)
    """Global batch: images in one update of D, over all ranks."""
    accumulate: int = Field(1, ge=1)
    """Number of micro-batches into which each rank splits its share of a batch. It computes them in turn."""
    tick_kimg: float = Field(10.0, gt=0)
    """Write a row of metrics every this many thousand images."""
    sample_kimg: float = Field(50.0, gt=0)
    """Write a grid of samples every this many thousand images."""
    checkpoint_kimg: float = Field(100.0, gt=0)
    """Write a checkpoint every this many thousand images, and one at the end."""
    keep: int = Field(4, ge=1)
    """Number of newest checkpoints to keep."""
    keep_every_kimg: float | None = Field(None, gt=0)
    """Also keep for good the first checkpoint of each interval of this many thousand images."""


class EvalSection(Section):
    every_kimg: float | None = Field(500.0, gt=0)
    """Measure G's running average every this many thousand images, and at the end; a shorter run is not measured.
    null: never."""
    n: int = Field(5000, ge=12)
    """Number of generated images that an evaluation measures."""
    data: str | None = None
    """Real samples to compare with, such as held-out ones: a set as in `data.path` (default: `data.path`)."""
    best: str | None = None
    """Measure that selects the best checkpoint, such as `psnr` (default: the Fréchet distance)."""
    extractor: (
        Literal["inception", "effnet-lite0", "classifier", "bands", "torchscript", "frames", "ngrams", "minilm"] | None
    ) = None
    """Computes the features that are compared; `gandist.evaluate` uses it too. For images: `inception`, `effnet-lite0`
    or `classifier` (default: `effnet-lite0` if `gandist[eval]` is installed, else `classifier`). For sounds:
    `classifier`, trained on the run's own set, `bands`, which needs no training, or `torchscript` (default:
    `classifier` in a run with classes, else `bands`). For clips: `classifier` as for sounds, `frames`, which sees
    single frames as images, or `torchscript` (default: `classifier` in a run with classes, else `frames`). For texts:
    `ngrams`, which needs no training, or `minilm`, the sentence encoder of `gandist[text]` (default: `ngrams`)."""
    weights: str | None = None
    """File with the extractor's weights: `inception`'s (not shipped), your own classifier's, or a TorchScript file that
    maps sounds (N, T), or clips (N, 3, F, H, W), in [-1, 1] to features (N, features)."""


Reaction = Literal["ignore", "warn", "roll_back", "stop"]


class HealthSection(Section):
    overfitting: Reaction = "warn"
    """Reaction if D memorises the training images, G repeats them, or quality gets worse for long."""
    collapsing: Reaction = "warn"
    """Reaction if the variety of G's images shrinks, or its clips stand still."""
    unfaithful: Reaction = "warn"
    """Reaction if G ignores the sample that it is given, or copies it (`condition.kind`)."""
    diverged: Reaction = "roll_back"
    """Reaction if losses, gradients or the Fréchet distance explode. `roll_back` returns to the best checkpoint with
    smaller learning rates; without a checkpoint, or after `max_rollbacks`, the run stops."""
    lr_factor: float = Field(0.5, gt=0, lt=1)
    """Factor of both learning rates at a roll-back."""
    max_rollbacks: int = Field(2, ge=0)
    """Maximum number of roll-backs in a run."""


class LaunchSection(Section):
    kind: Literal["ray", "local"] = "ray"
    """`ray`: workers on the running Ray cluster (or on a local one, started if there is none);
    `local`: this process, or the processes that `torchrun` started."""
    workers: Annotated[int | tuple[int, int], BeforeValidator(_as_tuple)] = 1
    """Number of workers, or `[min, max]` for an elastic run that uses what the cluster has."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Ray resources of each worker; by default one GPU (one CPU if `device` is `cpu`)."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Ray node labels that workers require, such as `ray.io/accelerator-type: H100`."""
    max_failures: int = Field(3, ge=-1)
    """Restarts after a lost worker before the run gives up; -1 for no limit."""
    threads: int | None = Field(None, ge=1)
    """Compute threads of each worker on CPUs. Default: OMP_NUM_THREADS, which Ray sets to the CPUs that a worker
    reserves, and torchrun to 1; else the fastest number, measured at the run's start and then kept."""
    timeout_s: float = Field(600.0, ge=1)
    """Seconds that workers wait for a silent one before the run fails. Must exceed the time that a worker needs for
    an evaluation, or for a checkpoint on slow storage."""
    bucket_mib: float | None = Field(None, gt=0)
    """Upper bound in MiB of the buckets in which workers average gradients. Small buckets start earlier in the backward
    pass, large ones need fewer messages. Default: 1 for the first, 25 for the others. With more than two workers,
    other buckets change the order of the sums, and so their rounding."""
    resize_s: float = Field(60.0, gt=0)
    """Seconds between checks whether Ray has more workers for an elastic run; each change costs a restart."""


class TelemetrySection(Section):
    enabled: bool = True
    """Serve Prometheus metrics from every rank."""
    port: int = Field(0, ge=0, le=65535)
    """Port of the metrics; rank r takes `port + r`, or with `dir` all ranks share it. 0: any free port. The run's
    `prometheus.json` lists the actual ports."""
    host: str = "127.0.0.1"
    """Address that the metrics are served on; `0.0.0.0` if Prometheus, or a worker, runs on another machine."""
    dir: str | None = None
    """Folder on each machine (not shared between machines), such as `/tmp/gandist-metrics`. All ranks of the machine,
    of several runs too, write their metrics there. One of them serves all on `port`; when it ends, another takes
    over."""


class TrackSection(Section):
    tensorboard: bool = True
    """Write TensorBoard event files to `tensorboard/` in the run's folder. The folder must be local: if `run.dir` is in
    an object store, no event files are written, and a warning says so."""
    mlflow: str | None = None
    """Tracking URI of an MLflow server, such as `http://mlflow:5000` (`pip install 'gandist[mlflow]'`); its credentials
    come from MLflow's own environment variables."""
    wandb: str | None = None
    """Weights & Biases project, or `entity/project` (`pip install 'gandist[wandb]'`); `WANDB_API_KEY` or `wandb login`
    identifies you."""


class Tree(Section):
    """All sections, each valid by itself."""

    run: RunSection = RunSection()
    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    condition: ConditionSection = ConditionSection()
    game: GameSection = GameSection()
    augment: AugmentSection = AugmentSection()
    optim: OptimSection = OptimSection()
    train: TrainSection = TrainSection()
    eval: EvalSection = EvalSection()
    health: HealthSection = HealthSection()
    launch: LaunchSection = LaunchSection()
    telemetry: TelemetrySection = TelemetrySection()
    track: TrackSection = TrackSection()
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp64"] = "auto"
    """Arithmetic of the networks: autocast to bf16 or fp16 (with a gradient scaler per player), fp32, or fp64. `auto`
    is bf16 if every worker's device supports it, else fp32: a CPU that emulates bf16 is 20 times slower."""
    step: Literal["auto", "graph", "eager", "compile"] = "auto"
    """How a step runs. `graph`: captured once as a CUDA graph and replayed. `eager`: Python launches every kernel.
    `auto`: `graph` on a GPU, `eager` on a CPU. `compile`: torch.compile also fuses the networks, after a long warm-up
    and with different rounding. A step that cannot be captured runs eagerly, and the log says why."""
    unroll: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = 1
    """Steps in one CUDA graph, if the data is resident on the GPU and nothing is due between them: equal bit for
    bit. `auto`: 8 if a step is shorter than 2 ms, else 1."""
    tf32: bool = True
    """On a GPU with `precision` fp32: multiply in TF32 (10 bits of mantissa) if true, in true fp32 if false."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` uses a GPU if there is one."""
    imports: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = ()
    """Your Python files that add networks, objectives, penalties, augmentations or media to the tables."""

    @property
    def worker_range(self) -> tuple[int, int]:
        """Smallest and largest number of workers that the run accepts."""
        workers = self.launch.workers
        return (workers, workers) if isinstance(workers, int) else workers
