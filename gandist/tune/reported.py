"""The metrics that a trial reports, from its configuration."""

from gandist.conditions.sample import OfSample
from gandist.config.methods import latents_of
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, medium_of
from gandist.evaluation.extractors import default_extractor, kind_of
from gandist.evaluation.likeness import restored_by
from gandist.evaluation.texts import told_by
from gandist.media.text import Text
from gandist.media.video import Video
from gandist.monitoring.health import FRECHET
from gandist.monitoring.metrics import MEASURES, OF_MOTION, RESTORED, TEXTS
from gandist.tune.trials import TRAIN_S


def reported_by(config: RunConfig) -> list[str]:
    """The metrics that a trial reports; the Fréchet distance first."""
    extractor, condition = config.eval.extractor or default_extractor(config), condition_of(config)
    medium = medium_of(config)
    kind = kind_of(extractor, medium)
    left_out = set(RESTORED) | (set() if kind.has_classes else {"is"})
    left_out |= set() if kind.learn and config.model.classes else {"recognised"}
    left_out |= set() if isinstance(medium, Video) else {*OF_MOTION}
    if isinstance(medium, Text):
        left_out |= {"memorisation", "ppl", *TEXTS} - {*told_by(config)}
    else:
        left_out |= {*TEXTS}
    others = [name for name in MEASURES if not name.startswith(FRECHET) and name not in left_out]
    if isinstance(condition, OfSample):
        missing = {"memorisation", "ppl", "fd_worst_class"}
        others = [*(name for name in others if name not in missing), *restored_by(extractor, condition, medium)]
        others += ["variety"] if latents_of(config) else []
    return [*(f"quality/{name}" for name in (kind.distance, *others)), TRAIN_S]
