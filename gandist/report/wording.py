"""Titles of charts and labels of curves, by the keys of rows."""

FRECHET = "Fréchet distance: lower is better"
MANIFOLD = "Precision, recall, density, coverage: higher is better"
TITLES = {
    "quality/fid": FRECHET,
    "quality/fd-": FRECHET,
    "quality/fad-": FRECHET,
    "quality/fvd-": FRECHET,
    "quality/fd_worst": "Fréchet distance within the worst class: lower is better",
    "quality/kid": "Kernel distance: lower is better",
    "quality/is": "Inception Score: higher is better",
    "quality/precision": MANIFOLD,
    "quality/recall": MANIFOLD,
    "quality/density": MANIFOLD,
    "quality/coverage": MANIFOLD,
    "quality/psnr": "Peak signal-to-noise ratio in dB: higher is better",
    "quality/ssim_hole": "Structural similarity in the hole: higher is better",
    "quality/ssim": "Structural similarity: higher is better",
    "quality/pd-": "Perceptual distance from the target: lower is better",
    "quality/l1_hole": "Absolute difference from the target in the hole: lower is better",
    "quality/l1": "Absolute difference from the target: lower is better",
    "quality/mel_l1": "Mel spectrogram's difference from the target: lower is better",
    "quality/stft": "Spectral distance from the target: lower is better",
    "quality/stoi": "Intelligibility beside the target: higher is better",
    "quality/recognised": "Share recognised as their class: higher is better",
    "quality/variety": "Perceptual distance of two outputs for one input: higher is more varied",
    "quality/js_": "Divergence of n-grams in bits: lower is better",
    "quality/novel": "Share of {many} that are not in the training set",
    "quality/dictionary": "Share of {many} that are real ones: higher is better",
    "quality/unique": "Variety, as shares of what is different: higher is more varied",
    "quality/distinct": "Variety, as shares of what is different: higher is more varied",
    "quality/bleu": "BLEU with real {many}, and with one another (self_bleu, lower is more varied)",
    "quality/self_bleu": "BLEU with real {many}, and with one another (self_bleu, lower is more varied)",
    "quality/length_distance": "Distance of lengths in symbols: lower is better",
    "quality/nll_oracle": "Negative log-likelihood by the oracle in nats a token: as of real {many} is right",
    "quality/nll": "Negative log-likelihood of real {many} in nats a symbol: lower is better",
    "quality/motion": "Motion over that of real {many}: 1 is right",
    "quality/consistency": "Consistency from frame to frame: as that of real {many} is right",
    "quality/frozen": "Share of {many} that stand still: as of real {many} is right",
    "quality/memorisation": "Memorisation: 1 as new {many}, near 0 copies",
    "quality/ppl": "Path length: lower is smoother",
    "signal/": "Signs of health",
    "loss/": "Losses",
    "score/": "Scores that D gives",
    "sign/": "Mean sign of D on real {many}",
    "penalty/": "Penalties",
    "grad_norm/": "Gradient norms",
    "lr/": "Learning rates",
    "augment/": "Probability of augmentation p",
    "skipped/": "Skipped steps so far",
    "speed/": "{Many} a second",
    "waiting/": "Waits, as a share of time",
    "workers/": "Workers",
}
"""Prefixes of a row's keys, in the order of the page; a key with no prefix here gets its own chart at the end. {many}
stands for what samples are called."""

LABELS = {
    "signal/diversity": "variety of {many}, 1: as real ones",
    "signal/faithful": "outputs beside their targets, 1: belong to them, 0: to any",
    "signal/change": "change from what needs no learning, 1: as large as the target's",
    "signal/drift": "distance of G from its average",
    "signal/motion": "motion of {many}, 1: as real ones",
    "signal/nonfinite": "share of steps not finite",
}
NAMED_BY_TITLE = ("quality", "speed", "waiting", "workers")
"""Groups whose names are left out of the curves' labels."""


def place_of(key: str) -> int:
    """Position on the page of the chart for a key."""
    return next((i for i, start in enumerate(TITLES) if key.startswith(start)), len(TITLES))


def title_of(key: str) -> str:
    return [*TITLES.values(), key][place_of(key)]


def filled(text: str, many: str) -> str:
    return text.replace("{many}", many).replace("{Many}", many.capitalize())


def label_of(key: str, many: str) -> str:
    """The label of a curve: its key in the rows, or words."""
    group, _, what = key.partition("/")
    return filled(LABELS.get(key) or (what if group in NAMED_BY_TITLE else key), many)
