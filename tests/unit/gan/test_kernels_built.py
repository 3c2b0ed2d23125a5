"""Kernels where there is no GPU: run by Triton's interpreter, compiled for GPUs, and left alone where not wanted."""

import importlib.util
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from gandist.gan import kernels
from tests.helpers.scripts import python


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "passes"), [("not nightly", 84), pytest.param("nightly", 162, marks=pytest.mark.nightly)]
)
def test_in_the_interpreter(which: str, passes: int) -> None:
    """The kernels' tests in a process of their own: Triton settles on its interpreter when it is imported."""
    pytest.importorskip("triton")
    files = ["tests/unit/gan/test_kernels.py", "tests/unit/distributed/test_philox.py"]
    chosen = ["-m", f"gpu and {which}", "-n", "0"]
    ran = python("-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *files, TRITON_INTERPRET="1")
    print(ran.stdout, ran.stderr)
    assert ran.returncode == 0
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed is not None
    assert int(passed[1]) >= passes


class Launched:
    """Stands in for a kernel, and compiles for a GPU what Triton would on a launch."""

    def __init__(self, kernel: Any, capability: int, general: tuple[str, ...] = ()) -> None:
        """`general`: arguments for whose values the kernel is not specialised."""
        self.kernel, self.capability, self.general = kernel, capability, general
        self.built: list[dict[str, Any]] = []

    def __getitem__(self, grid: tuple[int, int]) -> Callable[..., None]:
        return self.compile

    def compile(self, *arguments: Any, **named: Any) -> None:
        """Its specialisation: an integer is a constant if it is 1, and else known to divide by 16, as addresses are."""
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource, compile

        options = {name: named.pop(name) for name in tuple(named) if name not in self.kernel.arg_names}
        given = dict(zip(self.kernel.arg_names, arguments, strict=False)) | named
        signature, constants, known = {}, {}, {}
        for i, (name, value) in enumerate(given.items()):
            if isinstance(value, torch.Tensor):
                signature[name] = "*" + (TYPES | INTEGERS)[value.dtype]
                known[i,] = [["tt.divisibility", 16]]
            elif name in self.general:
                signature[name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            elif name in named or value is None or value == 1:
                signature[name], constants[name] = "constexpr", value
            else:
                signature[name] = "i32"
                known.update({(i,): [["tt.divisibility", 16]]} if value % 16 == 0 else {})
        source = ASTSource(self.kernel, signature, constants, known)
        self.built.append(compile(source, target=GPUTarget("cuda", self.capability, 32), options=options).asm)


TYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.float64: "fp64"}
INTEGERS = {torch.int64: "i64"}
IN_EACH_RUN = [(90, torch.bfloat16), (80, torch.float64)]
"""What is not compiled by night alone: the narrowest type, in which training is fastest, and the widest."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "capability"),
    [
        pytest.param(dtype, capability, marks=[] if (capability, dtype) in IN_EACH_RUN else [pytest.mark.nightly])
        for dtype in TYPES
        for capability in (80, 90)
    ],
)
def test_compile_for_gpus(capability: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """To machine code, every form that the launchers ask for; in channels_last all is loaded 16 bytes at a time."""
    pytest.importorskip("triton")
    from gandist.gan.kernels import device

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    names = ("up_kernel", "down_kernel", "gated_kernel", "summed_kernel")
    launched = {name: Launched(getattr(device, name), capability) for name in names}
    for name, stand_in in launched.items():
        monkeypatch.setattr(device, name, stand_in)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.zeros(2, 64, 32, 32, dtype=dtype).contiguous(memory_format=memory_format)
        b = torch.zeros(64)
        device.up(x)
        device.down(x)
        for bias, gate in ((b, None), (b, x), (None, x), (b.expand(2, 64), x)):
            device.gated(x, bias, gate, 0.2)
        device.summed(x, x, 0.2)
        device.gated(x[:, :3, ::2], b[:3], None, 0.2)
        device.up(x[:1, :3, :1, :1].expand(1, 3, 7, 5))
    assert [len(stand_in.built) for stand_in in launched.values()] == [4, 2, 10, 2]
    for name, stand_in in launched.items():
        half = len(stand_in.built) // 2
        for asm in stand_in.built:
            assert asm["cubin"]
            assert ".local" not in asm["ptx"], "registers are spilled"
            if dtype == torch.float64 and name in ("gated_kernel", "summed_kernel"):
                assert "0d3FC999999999999A" in asm["ptx"], "0.2 to all its digits"
        for asm in stand_in.built[half : half + (4 if name == "gated_kernel" else 1)]:
            transfers = re.findall(r"(?:ld|st)\.global\.\S*?(?:v(\d)\.)?b(\d+) ", asm["ptx"])
            widths = {int(n or 1) * int(bits) for n, bits in transfers}
            assert max(widths) == 128
            # What is narrower are the biases, and the sums by channel.
            assert widths == {128} or name in ("gated_kernel", "summed_kernel")


@pytest.mark.slow
@pytest.mark.parametrize("capability", [pytest.param(80, marks=pytest.mark.nightly), 90])
def test_compile_random_numbers_for_gpus(capability: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    from gandist.distributed import philox_device
    from gandist.distributed.philox import DTYPES

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launched = Launched(philox_device.philox_kernel, capability, ("key_0", "key_1", "sub"))
    monkeypatch.setattr(philox_device, "philox_kernel", launched)
    for kind, dtype in DTYPES.items():
        out, seen = torch.zeros(8, 100, dtype=dtype), torch.zeros((), dtype=torch.int64)
        philox_device.draw(out, kind, (1, 2**64 - 1), seen, 1, range(1, 16, 2))
    assert len(launched.built) == 3
    for kind, asm in zip(DTYPES, launched.built, strict=True):
        assert asm["cubin"]
        assert "mul.hi.u64" in asm["ptx"]
        # Sine and cosine keep a table there for huge angles, which there are none of.
        assert kind == "normal" or ".local" not in asm["ptx"], "registers are spilled"


def test_cost_nothing_without_a_gpu() -> None:
    """Neither Triton nor the kernels are imported, by a forward pass and a backward one either."""
    program = """
import sys, torch
from gandist.gan.networks import NETWORKS, Shape
D = NETWORKS["r3gan"].discriminator(Shape(8, 3, z_dim=4, width=4))
D(torch.zeros(1, 3, 8, 8)).sum().backward()
print([m for m in sys.modules if m.split(".")[0] == "triton" or m == "gandist.gan.kernels.device"])
"""
    ran = python("-c", program)
    assert ran.stdout == "[]\n", ran.stderr


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As if no kernel had been asked for yet, but would be on the CPU."""
    monkeypatch.setattr(kernels, "EVERYWHERE", True)
    kernels.works.cache_clear()
    yield
    kernels.works.cache_clear()


def test_without_triton(anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The twins, and not a word."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not kernels.usable(torch.zeros(1, 1, 1, 1))
    assert not caplog.records


def test_with_a_triton_that_fails(
    anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The twins, and one warning: a Triton that finds no C compiler starts nothing."""

    def probe(device: str) -> None:
        raise RuntimeError("Failed to find C compiler.")

    module = ModuleType("gandist.gan.kernels.device")
    module.probe = probe  # type: ignore[attr-defined]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "gandist.gan.kernels.device", module)
    monkeypatch.setattr(kernels, "device", module, raising=False)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert not kernels.usable(torch.zeros(1, 1, 1, 1))
    assert [record.message for record in caplog.records] == [
        "Triton is installed but does not work, so layers are slower: Failed to find C compiler."
    ]


def test_what_is_not_theirs(anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "works", lambda: True)
    x = torch.zeros(1, 1, 1, 1)
    assert kernels.usable(x)
    assert not kernels.usable(x.long())
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not kernels.usable(x)
    monkeypatch.undo()
    assert not kernels.usable(x), "a tensor on the CPU"
