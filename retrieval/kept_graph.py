"""The model as ONNX Runtime has optimised it, kept in the data folder: it loads in a tenth of a second and is mapped
into memory, where the file of the wheel is optimised anew by every process (0.3 s, and twice the memory). What is kept
gives the same vectors. It is made from the checked file only, is renamed into place whole, and is made anew when a file
of it was touched; where nothing can be kept, the model is loaded as it came.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from retrieval.embedding import checked

_GRAPH, _WEIGHTS, _SEAL = "model.onnx", "weights.bin", "seal.json"


def open_session(model: Path, sha256: str, folder: Path | None) -> Any:
    """Opens an ONNX Runtime session of one thread on `model`, whose SHA-256 must be `sha256`, by what is kept of it in
    `folder` if that is given. Raises Broken when the model is missing or another one."""
    if folder is not None:
        with suppress(OSError):  # a folder that cannot be written, a full disk, a damaged file
            return _open_kept(model, sha256, folder)
    return _session(checked(model, sha256), _options())


def open_bytes(model: bytes) -> Any:
    """Opens an ONNX Runtime session of one thread on a model that was made in this process."""
    return _session(model, _options())


def _open_kept(model: Path, sha256: str, folder: Path) -> Any:
    import onnxruntime

    family = f"{sha256[:16]}-{os.uname().machine}"
    kept = folder / f"{family}-onnxruntime-{onnxruntime.__version__}"
    if not _is_whole(kept):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(folder):
            if not _is_whole(kept):
                for old in folder.glob(f"{family}-*"):  # of another version, damaged, or begun and never ended
                    shutil.rmtree(old)
                _make(checked(model, sha256), kept)
    options = _options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return _session(kept / _GRAPH, options)
    except OSError:
        shutil.rmtree(kept)  # the next one makes it anew
        raise


def _make(model: Path, kept: Path) -> None:
    import onnxruntime

    begun = kept.with_name(f"{kept.name}-begun")
    begun.mkdir()
    options = _options()
    options.log_severity_level = 3  # it warns that such a graph is for this kind of machine: so is its name
    # Not ORT_ENABLE_ALL: that fits the layout to the very processor, and a folder may move to another one.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(begun / _GRAPH)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    try:
        _session(model, options)
        for name in (_GRAPH, _WEIGHTS):
            with (begun / name).open("rb") as written:
                os.fsync(written.fileno())
        (begun / _SEAL).write_text(json.dumps(_state(begun)))
        begun.rename(kept)
    except BaseException:
        shutil.rmtree(begun, ignore_errors=True)
        raise


def _is_whole(kept: Path) -> bool:
    """Whether nothing was written to what is kept since it was made; told by size and time, as git does."""
    try:
        return bool(json.loads((kept / _SEAL).read_text()) == _state(kept))
    except (OSError, ValueError):
        return False


def _state(folder: Path) -> dict[str, list[int]]:
    files = {name: (folder / name).stat() for name in (_GRAPH, _WEIGHTS)}
    return {name: [file.st_size, file.st_mtime_ns] for name, file in files.items()}


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lets one process at a time make something."""
    with (folder / "making.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # they keep the most ever needed: half a GB
    return options


def _session(model: Path | bytes, options: Any) -> Any:
    """Opens a session. Raises OSError when ONNX Runtime cannot read the model, or write what it was told to."""
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NoSuchFile

    try:
        given = model if isinstance(model, bytes) else str(model)
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidGraph, InvalidProtobuf, NoSuchFile) as error:
        raise OSError(str(error)) from error
