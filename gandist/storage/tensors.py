"""Tensors as a safetensors file, byte for byte as the `safetensors` package writes it.

That package holds the interpreter lock while it copies (over a second per GB, during which training stops). Here
torch copies, which releases the lock.
"""

import json
from collections.abc import Mapping

import torch
from safetensors.torch import save
from torch import Tensor

NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The format's type names, in file order; each tensor is aligned to its elements."""
ORDER = list(NAMES)


def serialised(tensors: Mapping[str, Tensor]) -> bytes | memoryview:
    """The file of these tensors, which are on the CPU; stored in row-major order whatever their layout."""
    if not {tensor.dtype for tensor in tensors.values()} <= NAMES.keys():
        return save({name: tensor.contiguous() for name, tensor in tensors.items()})
    header, end = {}, 0
    ordered = sorted(tensors.items(), key=lambda item: (ORDER.index(item[1].dtype), item[0]))
    for name, tensor in ordered:
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    head = len(head).to_bytes(8, "little") + head
    file = torch.empty(len(head) + end, dtype=torch.uint8)
    file[: len(head)] = torch.frombuffer(bytearray(head), dtype=torch.uint8)
    at = len(head)
    for _, tensor in ordered:
        file[at : at + tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)
        at += tensor.nbytes
    return file.numpy().data
