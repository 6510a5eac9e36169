"""`accelerate launch --num_processes 2 -m trainer run` on a machine without a GPU.

accelerate starts several processes where it finds several accelerators or is told `--multi_gpu`. On a CPU it leaves
that to mpirun: without it, it sets the address at which the processes would meet, starts one, and says nothing. That
one sees here that it is alone, reads in its parent's command line how many were asked for, and starts them through
torch.distributed.run, which is what accelerate itself does for GPUs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.errors import TrainerError

#: set in each process that torchrun or MPI started
_HAS_A_RANK = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_ADVICE = "`accelerate launch --multi_gpu --num_processes N -m trainer run` starts N processes on a CPU too"


def start_the_others(module: str, arguments: Sequence[str]) -> int | None:
    """Run `python -m module arguments` in as many processes as accelerate was asked for; returns their exit code.

    None: there is nothing to start, and this process goes on by itself. Raises TrainerError when several were asked
    for and cannot be started.
    """
    if not left_alone(os.environ):
        return None
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        count = max(1, torch.cuda.device_count())
        raise TrainerError(
            f"accelerate was asked for more processes than this machine has GPUs; use --num_processes {count}"
        )
    options = torchrun_options(_parents_command())
    # a run that its gate refuses ends with 3: no failure to report, and what does fail has said so itself
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        run.run(run.parse_args([*options, "-m", module, *arguments]))
    except ChildFailedError as error:  # it has said what it had to say; killed by a signal is below 0
        return max(1, *(failure.exitcode for failure in error.failures.values()))
    return 0


def left_alone(environment: Mapping[str, str]) -> bool:
    """Whether accelerate prepared for several processes and started this one only."""
    prepared = "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_PORT" in environment
    return prepared and not any(name in environment for name in _HAS_A_RANK)


def torchrun_options(command: Sequence[str]) -> list[str]:
    """What torch.distributed.run has to be told for the processes that this `accelerate launch` command asks for."""
    from accelerate.commands.launch import launch_command_parser

    at = next((i + 1 for i, word in enumerate(command) if _is_launcher(command[:i], word)), None)
    if at is None:
        raise TrainerError(f"accelerate was asked for several processes and started one; {_ADVICE}")
    try:
        asked: Any = launch_command_parser().parse_args(list(command[at:]))
    except SystemExit:
        raise TrainerError(f"the options of `accelerate launch` cannot be read; {_ADVICE}") from None
    machines = _asked(asked, "num_machines", 1)
    processes = max(1, _asked(asked, "num_processes", machines) // machines)
    if machines == 1:
        return ["--standalone", f"--nproc_per_node={processes}"]
    return [
        f"--nnodes={machines}",
        f"--nproc_per_node={processes}",
        f"--node_rank={_asked(asked, 'machine_rank', 0)}",
        f"--master_addr={os.environ['MASTER_ADDR']}",
        f"--master_port={os.environ['MASTER_PORT']}",
    ]


def _is_launcher(before: Sequence[str], word: str) -> bool:
    """accelerate-launch, accelerate launch, python -m accelerate.commands.launch, python .../commands/launch.py"""
    name = word.replace(os.sep, "/").rpartition("/")[2]
    if name == "launch":
        return bool(before) and "accelerate" in before[-1]
    return name in ("accelerate-launch", "accelerate.commands.launch") or word.endswith("accelerate/commands/launch.py")


def _asked(asked: Any, name: str, default: int) -> int:
    """An option of the command line or of the file that `accelerate config` wrote: accelerate looks there too."""
    given = getattr(asked, name)
    if given is not None:
        return int(given)
    from accelerate.commands.config.config_args import default_config_file, load_config_from_file

    path = asked.config_file or (default_config_file if os.path.isfile(default_config_file) else None)
    stored = getattr(load_config_from_file(path), name, None) if path else None
    return int(stored) if stored is not None else default


def _parents_command() -> list[str]:
    import psutil  # type: ignore[import-untyped]  # accelerate requires it

    try:
        words: list[str] = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return []
    return words


def is_main() -> bool:
    """Whether this process speaks for all of a run: the only one, or the first."""
    return int(os.environ.get("RANK", "0")) == 0
