"""CPUs and memory within a container, on fake cgroup files of both versions."""

from __future__ import annotations

import ast
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from mlrun_assets.machine import (
    IGNORED_VARIABLES,
    available_memory_bytes,
    peak_memory_mb,
    total_memory_bytes,
    usable_cpus,
)
from mlrun_assets_tests.examples import ROOT

GB = 2**30


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with 16 CPUs and 64 GB, of which 60 GB are available."""
    memory = SimpleNamespace(total=64 * GB, available=60 * GB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def files(root: Path, contents: dict[str, object]) -> Path:
    for name, content in contents.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return root


def version_2(root: Path, group: str = "") -> Path:
    """A container of 4 GB, 3 of them used, 1 of those by cached files, and 2.5 CPUs."""
    place = f"sys/fs/cgroup{group}"
    contents = {
        "proc/self/cgroup": f"0::{group or '/'}",
        f"{place}/memory.max": 4 * GB,
        f"{place}/memory.current": 3 * GB,
        f"{place}/memory.stat": f"anon {2 * GB}\ninactive_file {GB}",
        f"{place}/cpu.max": "250000 100000",
    }
    return files(root, contents)


def version_1(root: Path) -> Path:
    """The same container in version 1; its path is the host's, which is not mounted in it."""
    memory, cpu = "sys/fs/cgroup/memory", "sys/fs/cgroup/cpu,cpuacct"
    contents = {
        "proc/self/cgroup": "4:memory:/docker/a1b2\n1:cpu,cpuacct:/docker/a1b2\n0::/",
        f"{memory}/memory.limit_in_bytes": 4 * GB,
        f"{memory}/memory.usage_in_bytes": 3 * GB,
        f"{memory}/memory.stat": f"inactive_file 0\ntotal_inactive_file {GB}",
        f"{cpu}/cpu.cfs_quota_us": 250000,
        f"{cpu}/cpu.cfs_period_us": 100000,
    }
    files(root, contents)
    (root / "sys/fs/cgroup/cpu").symlink_to("cpu,cpuacct")
    return root


@pytest.mark.parametrize("container", [version_1, version_2])
def test_a_container_of_4_gb_on_a_host_of_64_gb_has_4_gb(tmp_path: Path, container) -> None:
    root = container(tmp_path)
    assert available_memory_bytes(root) == 2 * GB
    assert total_memory_bytes(root) == 4 * GB
    assert usable_cpus(root) == 3


def test_a_limit_of_a_group_above_holds_as_well(tmp_path: Path) -> None:
    place = "sys/fs/cgroup/kubepods/pod/container"
    contents = {
        "proc/self/cgroup": "0::/kubepods/pod/container",
        f"{place}/memory.max": "max",
        f"{place}/memory.current": GB,
        f"{place}/cpu.max": "max 100000",
    }
    root = files(version_2(tmp_path, "/kubepods"), contents)
    assert available_memory_bytes(root) == 2 * GB
    assert usable_cpus(root) == 3


def test_without_a_limit_the_host_counts(tmp_path: Path) -> None:
    memory, cpu = "sys/fs/cgroup/memory", "sys/fs/cgroup/cpu"
    contents = {
        "proc/self/cgroup": "4:memory:/\n1:cpu:/",
        f"{memory}/memory.limit_in_bytes": 9223372036854771712,
        f"{memory}/memory.usage_in_bytes": GB,
        f"{cpu}/cpu.cfs_quota_us": -1,
        f"{cpu}/cpu.cfs_period_us": 100000,
    }
    files(tmp_path, contents)
    assert available_memory_bytes(tmp_path) == 60 * GB
    assert total_memory_bytes(tmp_path) == 64 * GB
    assert usable_cpus(tmp_path) == 16


def test_cpus_are_those_of_the_affinity_or_of_a_system_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert usable_cpus(version_2(tmp_path)) == 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert usable_cpus(tmp_path / "no cgroups") == 8
    assert available_memory_bytes(tmp_path / "no cgroups") == 60 * GB


@pytest.mark.parametrize(("system", "unit"), [("linux", 1 << 10), ("darwin", 1 << 20)])
def test_the_peak_of_memory_is_in_the_unit_of_the_system(
    monkeypatch: pytest.MonkeyPatch, system: str, unit: int
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=3 * unit))
    assert peak_memory_mb() == 3


# Of the documents of Python's modules: what is of Linux alone, or at least not of macOS.
LINUX_ONLY = """
    sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_setscheduler
    copy_file_range splice memfd_create eventfd pidfd_open posix_fadvise posix_fallocate
    fdatasync getrandom getxattr setxattr listxattr removexattr unshare setns pipe2 prlimit
    RUSAGE_THREAD O_TMPFILE O_PATH O_DIRECT O_NOATIME F_SETLEASE F_NOTIFY F_OFD_SETLK
    sigtimedwait sigwaitinfo SIGRTMIN epoll AF_NETLINK SOCK_CLOEXEC CLOCK_BOOTTIME renameat2
    prctl
"""


def test_what_linux_alone_has_is_called_only_where_a_test_removes_it() -> None:
    called = {
        (node.attr, file.name)
        for file in (ROOT / "mlrun_assets").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in LINUX_ONLY.split()
    }
    assert called == {
        ("sched_getaffinity", "machine.py"),  # above
        ("sched_getaffinity", "onnx_classifier.py"),  # models/test_onnx_export.py
        ("renameat2", "files.py"),  # test_files.py
        ("F_SETLEASE", "files.py"),
    }


def test_a_container_that_used_up_its_memory_has_none_left(tmp_path: Path) -> None:
    root = files(version_2(tmp_path), {"sys/fs/cgroup/memory.current": 6 * GB})
    assert available_memory_bytes(root) == 0


HARMFUL = """
    PANDERA_VALIDATION_ENABLED=False PANDERA_VALIDATION_DEPTH=nonsense POLARS_REGEX_SIZE_LIMIT=1
    POLARS_ENGINE_AFFINITY=streaming PANDERA_USE_NARWHALS_BACKEND=True SKLEARN_ASSUME_FINITE=1
    SCIPY_ARRAY_API=1 ACCELERATE_MIXED_PRECISION=bf16 ACCELERATE_GRADIENT_ACCUMULATION_STEPS=7
    FSDP_VERSION=2 PARALLELISM_CONFIG_DP_SHARD_SIZE=2 XLA_USE_BF16=1 USE_TORCH=0 USE_HUB_KERNELS=1
    TRANSFORMERS_SDPA_FORCE_GQA=1 TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 NVIDIA_TF32_OVERRIDE=1
    ONEDNN_DEFAULT_FPMATH_MODE=ANY DNNL_DEFAULT_FPMATH_MODE=ANY TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1
    TORCHDYNAMO_DISABLE=1 ORT_LOAD_CONFIG_FROM_MODEL=1
"""
HARMLESS = (
    "POLARS_MAX_THREADS=2 OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 CUDA_VISIBLE_DEVICES= HF_TOKEN=x"
)


def variables(text: str) -> dict[str, str]:
    return dict(each.split("=", 1) for each in text.split())


def test_variables_of_libraries_that_change_a_result_are_ignored() -> None:
    harmful, harmless = variables(HARMFUL), variables(HARMLESS)
    assert all(any(name.startswith(each) for name in harmful) for each in IGNORED_VARIABLES)
    code = "import mlrun_assets, os; print(*os.environ)"
    environment = {**os.environ, **harmful, **harmless}
    shown = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert set(shown.split()).isdisjoint(harmful)
    assert set(shown.split()) >= {*harmless, "HF_HUB_DISABLE_TELEMETRY", "GOMP_SPINCOUNT"}
