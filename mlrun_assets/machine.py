"""CPUs and memory of this process, the speed of bfloat16, settings of libraries, no network.

A container sees all CPUs and all memory of its host. Its limits are in the cgroup files of version
1 or 2 (https://docs.kernel.org/admin-guide/cgroup-v2.html). Systems without these files, such as
macOS, have no such limits. ``root`` is the root of the file system; tests pass another one.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import resource
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlrun_assets.errors import OfflineError

ROOT = Path("/")

# The bfloat16 probe multiplies square matrices of this size, this many times.
PROBE_SIZE = 768
PROBE_REPEATS = 12


def usable_cpus(root: Path = ROOT) -> int:
    """CPUs that this process may use: at least 1; a fraction of a CPU counts as one."""
    linux = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, _cpu_quotas(root))]))


def available_memory_bytes(root: Path = ROOT) -> int:
    """Bytes that this process can still allocate without swapping or being killed."""
    import psutil

    free = [limit - used for limit, used in _memory_limits(root)]
    return max(0, min([int(psutil.virtual_memory().available), *free]))


def total_memory_bytes(root: Path = ROOT) -> int:
    """Bytes of memory of the machine, or of the container if that has less."""
    import psutil

    limits = [limit for limit, _ in _memory_limits(root)]
    return min([int(psutil.virtual_memory().total), *limits])


def _cpu_quotas(root: Path) -> Iterator[float]:
    """CPU quota of every cgroup of this process, in CPUs."""
    for group in _groups(root, ""):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            yield int(quota) / int(period)
    for group in _groups(root, "cpu"):
        quota_us = _number(group / "cpu.cfs_quota_us")  # -1: unlimited
        period_us = _number(group / "cpu.cfs_period_us")
        if quota_us is not None and quota_us > 0 and period_us:
            yield quota_us / period_us


# By controller: the files with limit and use, and the use that is cached files.
_MEMORY_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use, in bytes, of every cgroup of this process that has a limit."""
    for controller, (limit_file, use_file, cached) in _MEMORY_FILES.items():
        for group in _groups(root, controller):
            limit, used = _number(group / limit_file), _number(group / use_file)
            if limit is None or used is None:
                continue
            # The kernel frees cached files before it refuses memory: they do not count as used.
            stat = dict(
                line.split(maxsplit=1) for line in _text(group / "memory.stat").splitlines()
            )
            yield limit, max(0, used - int(stat.get(cached, 0)))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Directories of the cgroup of this process and of all its parents.

    ``controller`` is one of version 1; empty for version 2, which has one tree.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            # In a container, the path is that of the host, and the tree may begin at the container.
            tree = root / "sys/fs/cgroup" / controller
            own = tree / path.lstrip("/")
            yield from (group for group in (own, *own.parents) if group.is_relative_to(tree))


def _number(file: Path) -> int | None:
    """The number in ``file``; None: the file is missing or has no number (``max``)."""
    try:
        return int(_text(file))
    except ValueError:
        return None


def first_value(files: Iterable[Path], key: str) -> str | None:
    """What follows ``key`` and a colon in ``files``, such as those of /proc; None: nothing."""
    lines = (line for file in files for line in _text(file).splitlines() if line.startswith(key))
    return next((line.partition(":")[2].strip() for line in lines), None)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def peak_memory_mb() -> float:
    """Peak resident memory of this process, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def bf16_speedup(has_accelerator: bool) -> float:
    """Measure how many times faster a bfloat16 matrix product is than a float32 one."""
    import torch

    if has_accelerator:
        return 2.0 if torch.cuda.is_bf16_supported() else 0.0
    fastest = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(PROBE_SIZE, PROBE_SIZE, dtype=dtype)
        seconds = []
        for _ in range(PROBE_REPEATS):
            started = time.perf_counter()
            torch.matmul(matrix, matrix)
            seconds.append(time.perf_counter() - started)
        fastest[dtype] = min(seconds)  # other processes slow down the rest
    return fastest[torch.float32] / fastest[torch.bfloat16]


IGNORED_VARIABLES = {
    "PANDERA_": "turn off the schema of the splits, or a part of it",
    "POLARS_": "choose an engine with another order of rows, or limit patterns; all but threads, "
    "directories and formats",
    "SKLEARN_": "turn off the checks of numbers",
    "SCIPY_ARRAY_API": "choose other functions for arrays",
    "ACCELERATE_": "set precision, gradient accumulation and sharding without the recipe",
    "FSDP_": "shard the model without the recipe",
    "PARALLELISM_CONFIG_": "shard the model without the recipe",
    "XLA_": "change the precision of weights",
    "USE_TORCH": "hide torch from other libraries",
    "USE_HUB_KERNELS": "replace the kernels of the encoder",
    "TRANSFORMERS_SDPA_": "replace the attention of the encoder",
    "TORCH_ALLOW_TF32_": "multiply float32 with fewer bits",
    "NVIDIA_TF32_": "multiply float32 with fewer bits",
    "ONEDNN_DEFAULT_FPMATH_MODE": "multiply float32 with fewer bits",
    "DNNL_DEFAULT_FPMATH_MODE": "multiply float32 with fewer bits",
    "TORCH_FORCE_": "let checkpoints run code, or refuse whole ones",
    "TORCHDYNAMO_": "change the export of the model",
    "ORT_": "change how the exported model is run",
}
"""Environment variables, by their beginning, that would change a result behind the config."""
_HARMLESS = re.compile("POLARS_(MAX_THREADS|TEMP_DIR|FMT_|VERBOSE)|ACCELERATE_(LOG|DEBUG)_")

RECORDED_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS"),
    *("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "CUBLAS_WORKSPACE_CONFIG"),
)
"""Variables that a machine may need. They change the last digits of floats, as another CPU does."""


def settle_environment() -> None:
    """Remove `IGNORED_VARIABLES`, turn off the Hub's telemetry, and keep offline what was.

    GNU OpenMP's threads spin while they wait for each other. If other programs run, this takes the
    CPU from the very threads that they wait for, so it is shortened (docs/decisions/009).

    Libraries read their variables when they are imported, and child processes inherit them. So
    this runs when the package is imported.
    """
    for name in list(os.environ):
        if name.startswith(tuple(IGNORED_VARIABLES)) and not _HARMLESS.match(name):
            del os.environ[name]
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if os.environ.get(OFFLINE_VARIABLE):  # in a process that an offline run has started
        guard_network()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide the load report and progress bars of transformers within the block."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


# No network

OFFLINE_VARIABLE = "MLRUN_OFFLINE"
_OFFLINE = (OFFLINE_VARIABLE, "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
# Audit events of Python: the second argument is the address, or the first one is the host.
_CONNECTIONS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_guards: list[str] = []


def set_offline(offline: bool) -> None:
    """Refuse every call to another machine from now on, also in processes that this one starts.

    A long-lived process reads its config again and again: False allows the calls again.
    """
    if offline:
        os.environ.update(dict.fromkeys(_OFFLINE, "1"))
        guard_network()
    elif os.environ.get(OFFLINE_VARIABLE):
        for name in _OFFLINE:
            os.environ.pop(name, None)


def guard_network() -> None:
    """Refuse calls to other machines while the variable is set; libraries can't undo it."""
    if not _guards:  # a hook can't be removed
        _guards.append("audit")
        sys.addaudithook(_refuse_calls)


def _refuse_calls(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _CONNECTIONS and isinstance(arguments[1], tuple):  # others are files
        host = arguments[1][0]
    elif event in _LOOKUPS:
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    allowed = not isinstance(host, str) or _is_this_machine(host)
    if not allowed and os.environ.get(OFFLINE_VARIABLE):
        raise OfflineError(f"no connection to {host}: `offline` is true in the config")


def _is_this_machine(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host in ("", "localhost", socket.gethostname())
    return address.is_loopback or address.is_unspecified
