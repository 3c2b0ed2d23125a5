"""The step alone, on constant images: speed, floating-point operations, memory, and time to start."""

import argparse
import gc
import time
from collections.abc import Iterator

import numpy as np

from gandist.bench.measure import Case, Measurement, Peak, all_in_turn, block, product, use_threads
from gandist.bench.static import WARM_UP, Static
from gandist.distributed.ranks import join

DEFAULT = ("demo", "dcgan-fashion", "hinge-sngan", "r3gan")
"""A small and a full-width DCGAN, residual networks with spectral norm, and two penalties on D's slope."""
COLUMNS = (
    *("config", "batch", "precision", "mode", "device", "threads", "img_per_s", "ms_per_step"),
    *("tflops", "ceiling_share", "peak_mem_mib", "warmup_s", "ratio"),
)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bare",
        action="store_true",
        help="also time the same step, in turn, on fixed inputs: no random numbers are drawn",
    )


def measure(case: Case, options: argparse.Namespace) -> Iterator[Measurement]:
    """One record: the step in turn with a large matrix product in its precision, on the same threads."""
    gc.collect()  # memory of the previous case must not affect this one
    threads, ranks = use_threads(case.config), join(case.config.device)
    peak, start = Peak(ranks.device), time.perf_counter()
    world = Static(case.config, ranks)
    world.warm_up()
    warmup_s, peak_mem_mib = time.perf_counter() - start, peak.mib()
    multiply, product_flops = product(ranks.device, world.precision)
    calls = {"step": block(world, ranks.device), "product": multiply}
    if options.bare:
        calls["bare"] = block(world.bare, ranks.device)
        calls["bare"](WARM_UP * world.period)
    blocks = all_in_turn(calls, options.seconds, world.period)
    step_s, product_s = float(np.median(blocks["step"])), min(blocks["product"])  # the ceiling is the fastest block
    flops = world.flops()
    tflops, ceiling = flops / step_s / 1e12, product_flops / product_s / 1e12
    yield case.record(
        "step",
        **world.facts,
        img_per_s=world.images / step_s,
        ms_per_step=1e3 * step_s,
        tflops=tflops,
        ceiling_share=tflops / ceiling,
        peak_mem_mib=peak_mem_mib,
        warmup_s=warmup_s,
        gflop_per_step=flops / 1e9,
        ceiling_tflops=ceiling,
        memory=peak.what,
        threads=threads,
        bare_ms_per_step=1e3 * float(np.median(blocks["bare"])) if options.bare else None,
        ratio=float(np.median(blocks["bare"])) / step_s if options.bare else None,
    )
