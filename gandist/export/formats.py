"""The formats that a generator is exported to, each written in memory and compared with the network."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor, nn

from gandist.errors import GandistError
from gandist.export.model import Model

OPSET = 20
"""Version of ONNX's operators."""
KEY = "gandist"
"""Under which an ONNX file and a safetensors file have their metadata."""
FILE = "gandist.json"
"""In which a TorchScript and a pt2 file have their metadata."""
LARGEST = (1 << 31) - (1 << 20)
"""Bytes of an ONNX file's tensors: protobuf holds no more in one file."""

Run = Callable[[tuple[Tensor, ...]], Tensor]


class Format(NamedTuple):
    """A format that runs without gandist."""

    written: Callable[[Model, str], bytes]
    """The file of a model with its metadata, which are JSON."""
    opened: Callable[[bytes], Run]
    """A file's network as a function."""


def onnx_file(model: Model, metadata: str) -> bytes:
    """An ONNX file of one piece.

    Raises:
        GandistError: a library is missing, or the tensors are too large for one file.
    """
    library = _library()
    tensors = (*model.net.parameters(), *model.net.buffers())
    if (size := sum(each.nbytes for each in tensors)) > LARGEST:
        raise GandistError(
            f"--to onnx: the network has {size / 1e9:.1f} GB, and one ONNX file holds 2; give --to pt2 or safetensors"
        )
    with _quiet():
        program = torch.onnx.export(
            _exported(model),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=(tuple(each.dynamic for each in model.inputs),),
            input_names=[each.name for each in model.inputs],
            output_names=[model.output],
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _forget_origins(proto.graph)
    library.helper.set_model_props(proto, {KEY: metadata})
    library.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def onnx_run(data: bytes) -> Run:
    """The file in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(given: tuple[Tensor, ...]) -> Tensor:
        found = session.run(None, {name: each.numpy() for name, each in zip(names, given, strict=True)})
        return torch.from_numpy(found[0])

    return run


def pt2_file(model: Model, metadata: str) -> bytes:
    """A program of torch.export."""
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(_exported(model), buffer, extra_files={FILE: metadata})
    return buffer.getvalue()


def pt2_run(data: bytes) -> Run:
    with _quiet():
        program = torch.export.load(io.BytesIO(data)).module()
    return lambda given: program(*given)


def torchscript_file(model: Model, metadata: str) -> bytes:
    """A trace, which is as general as the comparison finds it."""
    buffer = io.BytesIO()
    with _quiet(), torch.no_grad():
        traced = torch.jit.trace(model.net, model.traced(), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, buffer, _extra_files={FILE: metadata})
    return buffer.getvalue()


def torchscript_run(data: bytes) -> Run:
    with _quiet():
        loaded = torch.jit.load(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return lambda given: loaded(*given)


def safetensors_file(G: nn.Module, metadata: str) -> bytes:
    """The averaged generator's weights and buffers, as gandist and torch load them: no network that runs."""
    tensors = {name: each.detach().cpu().contiguous() for name, each in G.state_dict().items()}
    return save(tensors, {"format": "pt", KEY: metadata})


FORMATS: Mapping[str, Format] = {
    "onnx": Format(onnx_file, onnx_run),
    "pt2": Format(pt2_file, pt2_run),
    "torchscript": Format(torchscript_file, torchscript_run),
}


def _exported(model: Model) -> torch.export.ExportedProgram:
    """The network as torch.export follows it, with the axes dynamic that have names."""
    dynamic = tuple(dict.fromkeys(each.dynamic, torch.export.Dim.DYNAMIC) for each in model.inputs)
    given = model.traced()
    with torch.no_grad():
        model.net(*given)  # makes what networks keep from call to call, such as windows, of real numbers
        program = torch.export.export(model.net, given, dynamic_shapes=(dynamic,), strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def _forget_origins(graph: Any) -> None:
    """Remove from a graph which line of Python each node and tensor comes from; and the shapes noted in between, which
    are wrong behind an inverse Fourier transform, and which a runtime finds itself."""
    del graph.value_info[:]
    for each in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del each.metadata_props[:]


def _library() -> Any:
    """The package onnx.

    Raises:
        GandistError: it is not installed, or one that belongs to it.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise GandistError(f"--to onnx: {error}; pip install 'gandist[export]'") from error
    return onnx


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporters say of themselves: deprecations, operators of libraries that are not here, and
    what a trace may miss, which the comparison finds."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name: .* will not be used, since it shares", UserWarning)
            warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            yield
    finally:
        log.setLevel(before)
