"""The lock between generators and the trainer."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from chatapp.engine.base import EngineError
from chatapp.engine.yield_lock import GenerationLock
from tests.engine.waiting import wait_until


def trainer_waits(lock: GenerationLock) -> bool:
    """Whether a trainer says, in the second file, that it waits."""
    door = os.open(lock.path.with_name(lock.path.name + ".waiting"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(door, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(door)
    return False


def test_idle_and_busy(tmp_path: Path) -> None:
    lock = GenerationLock(tmp_path / "generation.lock")
    assert lock.wait_for_idle(0)
    with lock.generating(), GenerationLock(lock.path).generating():  # generators share
        assert not lock.wait_for_idle(0.05)
    assert lock.wait_for_idle(0)


def test_the_trainer_goes_on_as_soon_as_the_answer_is_done(tmp_path: Path) -> None:
    lock = GenerationLock(tmp_path / "generation.lock")
    found: list[bool] = []
    with lock.generating():
        waiter = threading.Thread(target=lambda: found.append(lock.wait_for_idle()))
        waiter.start()
        wait_until(lambda: trainer_waits(lock))
        assert not found
    waiter.join(1)
    assert found == [True]


def test_a_loop_of_answers_does_not_shut_the_trainer_out(tmp_path: Path) -> None:
    lock = GenerationLock(tmp_path / "generation.lock")
    done = threading.Event()
    waits: list[float] = []

    def answers() -> None:
        while not done.is_set():
            started = time.perf_counter()
            with lock.generating():
                waits.append(time.perf_counter() - started)
                done.wait(0.03)  # the answer itself

    generator = threading.Thread(target=answers)
    generator.start()
    try:
        wait_until(lambda: waits)
        for _ in range(5):
            assert lock.wait_for_idle(2)
    finally:
        done.set()
        generator.join()
    assert max(waits) < 0.5  # and no answer waits for more than the grace


def test_a_generator_waits_for_a_waiting_trainer_only_so_long(tmp_path: Path) -> None:
    lock = GenerationLock(tmp_path / "generation.lock")
    with lock.generating():
        waiter = threading.Thread(target=lock.wait_for_idle, args=(1.0,))
        waiter.start()
        wait_until(lambda: trainer_waits(lock))
        started = time.perf_counter()
        with lock.generating():  # a second chat: must not wait for the first one's answer
            assert time.perf_counter() - started < 0.5
    waiter.join()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(EngineError, match=r"generation\.lock\.waiting cannot be opened"),
        GenerationLock(tmp_path / "file" / "generation.lock").generating(),
    ):
        pass
