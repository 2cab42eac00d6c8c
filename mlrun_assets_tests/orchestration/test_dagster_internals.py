"""That Dagster still behaves as `dagster_internals` needs it."""

from __future__ import annotations

import inspect
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import create_engine

from mlrun_assets.orchestration import dagster_internals
from mlrun_assets.orchestration.dagster_internals import (
    InterruptSafeLogManager,
    LocalComputeLogManager,
    error_without_stack,
    interrupt_without_stack,
    warn_of_hanging_dev,
)


def step_error(raised: BaseException) -> Any:
    """What Dagster keeps of an exception that an op raises: the innermost error."""
    return errors_of(raised)[0]


def errors_of(raised: BaseException) -> list[Any]:
    """The innermost error of the step, and that of the run."""

    @dg.op
    def fail() -> None:
        raise raised

    @dg.job
    def failing() -> None:
        fail()

    result = failing.execute_in_process(raise_on_error=False)
    found = [event for event in result.all_events if event.is_step_failure or event.is_run_failure]
    errors: list[Any] = [getattr(event.event_specific_data, "error", None) for event in found]
    errors[-1] = found[-1].job_failure_data.error
    while errors[0].cause:
        errors[0] = errors[0].cause
    return errors


def test_an_error_without_a_stack_is_kept_as_given() -> None:
    error = step_error(error_without_stack("no such file: make one", "DataError"))
    assert error.message.strip() == "no such file: make one"
    assert error.cls_name == "DataError"
    assert error.stack == []


def test_an_interrupt_without_a_stack_cancels_the_run() -> None:
    for error in errors_of(interrupt_without_stack("cancelled; run it again")):
        assert error.message.strip() == "cancelled; run it again"
        assert error.cls_name == "KeyboardInterrupt"
        assert error.stack == []


@pytest.mark.parametrize("public", [dg.Failure("why"), ValueError("why"), KeyboardInterrupt()])
def test_a_public_exception_still_has_a_stack(public: BaseException) -> None:
    """As soon as one has none, it replaces ours."""
    assert step_error(public).stack


@pytest.mark.parametrize("started_by", ["DAGSTER_IS_DEV_CLI", "PATH"])
def test_dev_that_will_hang_says_so(
    started_by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(started_by, "1")
    monkeypatch.setenv("DAGSTER_MODULE_NAME", "mlrun_assets.definitions")
    warn_of_hanging_dev()
    says = "unset DAGSTER_MODULE_NAME" in capsys.readouterr().err
    assert says is (started_by == "DAGSTER_IS_DEV_CLI")


def test_an_instance_takes_our_log_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert list(inspect.signature(LocalComputeLogManager.capture_logs).parameters) == [
        "self",
        "log_key",
    ]
    settings = {
        "module": InterruptSafeLogManager.__module__,
        "class": InterruptSafeLogManager.__name__,
    }
    with dg.instance_for_test(
        overrides={"compute_logs": settings}, temp_dir=str(tmp_path)
    ) as instance:
        manager = instance.compute_log_manager
        assert isinstance(manager, InterruptSafeLogManager)
        with manager.capture_logs(["run", "step"]):
            sys.stdout.write("said")
            sys.stdout.flush()
        kept = manager.get_log_data(["run", "step"]).stdout
    assert kept is not None and b"said" in kept


def test_events_do_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last connection that closes a database removes its log, and waits for the disk."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    @dg.op
    def speak() -> None:
        pass

    @dg.job
    def speaking() -> None:
        speak()

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = speaking.execute_in_process(instance=instance)
        logs = {file.name for file in tmp_path.rglob("*.db-wal")}
        with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
            waits = connection.exec_driver_sql("PRAGMA synchronous").scalar()
        assert len(instance.all_logs(run.run_id)) > 5
    assert logs >= {"index.db-wal", f"{run.run_id}.db-wal"}
    assert waits == 1  # NORMAL: only when a log is brought into its database


def test_other_databases_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with create_engine(f"sqlite:///{tmp_path}/mlflow.db").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_threads_keep_a_database_open_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    file, connect = tmp_path / "runs.db", sqlite3.connect
    opened: list[sqlite3.Connection] = []

    def connect_slowly(*arguments: Any, **options: Any) -> sqlite3.Connection:
        time.sleep(0.1)  # so that other threads ask meanwhile
        opened.append(connect(*arguments, **options))
        return opened[-1]

    def open_history(_: int) -> None:
        with closing(connect(file)) as connection:
            dagster_internals._spare_the_disk(connection, None)

    with closing(connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE runs (id)")
        monkeypatch.setattr(sqlite3, "connect", connect_slowly)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(open_history, range(4)))
    assert len(opened) == 1
