"""The metrics that a trial reports, from its configuration."""

from gandist.conditions.sample import OfSample
from gandist.config.methods import latents_of
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of
from gandist.evaluation.evaluation import restored_by
from gandist.evaluation.extractors import default_extractor
from gandist.monitoring.metrics import MEASURES, RESTORED
from gandist.tune.trials import TRAIN_S


def reported_by(config: RunConfig) -> list[str]:
    """The metrics that a trial reports; the Fréchet distance first."""
    extractor, condition = config.eval.extractor or default_extractor(), condition_of(config)
    own = "fid" if extractor == "inception" else f"fd-{extractor}"
    others = [name for name in MEASURES if not name.startswith(("fid", "fd-")) and name not in RESTORED]
    if isinstance(condition, OfSample):
        left_out = {"memorisation", "ppl", "fd_worst_class"}
        others = [*(name for name in others if name not in left_out), *restored_by(extractor, condition)]
        others += ["variety"] if latents_of(config) else []
    return [*(f"quality/{name}" for name in (own, *others)), TRAIN_S]
