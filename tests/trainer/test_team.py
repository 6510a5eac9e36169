"""Several processes learn what one learns, started as the README says: `accelerate launch --num_processes 2`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer import team_fit
from trainer.errors import TrainerError
from trainer.launch import left_alone, start_the_others, torchrun_options

ROOT = Path(__file__).resolve().parents[2]
ACCELERATE = [str(Path(sys.executable).with_name("accelerate")), "launch"]


def test_two_processes_give_the_adapter_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same steps up to the rounding of sums; Adam turns rounding of tiny gradients into small differences."""
    assert team_fit.main(str(tmp_path / "one")) == 0
    assert capsys.readouterr().out.split() == ["1"]
    result = subprocess.run(
        [*ACCELERATE, "--num_processes", "2", "-m", "tests.trainer.team_fit", str(tmp_path / "two")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["2"]
    one, two = load_file(tmp_path / "one"), load_file(tmp_path / "two")
    assert set(one) == set(two)
    a = torch.cat([t.flatten() for _, t in sorted(one.items())])
    b = torch.cat([t.flatten() for _, t in sorted(two.items())])
    assert torch.cosine_similarity(a, b, dim=0) > 0.999
    assert (a - b).norm() < 1e-3 * a.norm()  # seen: 3e-7


ALONE = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_PORT": "29500", "MASTER_ADDR": "127.0.0.1"}


def test_who_is_left_alone() -> None:
    assert left_alone(ALONE)
    assert not left_alone({})
    assert not left_alone({"ACCELERATE_MIXED_PRECISION": "no"})  # one process was asked for
    assert not left_alone(ALONE | {"LOCAL_RANK": "0"})  # torchrun
    assert not left_alone(ALONE | {"PMI_SIZE": "2"})  # mpirun
    assert start_the_others("trainer", ["run"]) is None


@pytest.mark.parametrize(
    "command",
    [
        [
            "python3",
            "/bin/accelerate",
            "launch",
            "--num_processes",
            "3",
            "-m",
            "trainer",
            "run",
            "--num_processes",
            "9",
        ],
        ["python3", "/bin/accelerate-launch", "--cpu", "--num-processes=3", "-m", "trainer", "run"],
        ["python3", "-m", "accelerate.commands.launch", "--num_processes", "3", "-m", "trainer", "run"],
    ],
)
def test_the_number_of_processes_is_the_one_asked_for(command: list[str]) -> None:
    assert torchrun_options(command) == ["--standalone", "--nproc_per_node=3"]


def test_several_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "2000")
    hosts = [
        "--num_machines",
        "2",
        "--machine_rank",
        "1",
        "--main_process_ip",
        "10.0.0.1",
        "--main_process_port",
        "2000",
    ]
    command = ["python3", "/bin/accelerate", "launch", *hosts, "--num_processes", "4", "-m", "trainer", "run"]
    assert torchrun_options(command) == [
        "--nnodes=2",
        "--nproc_per_node=2",
        "--node_rank=1",
        "--master_addr=10.0.0.1",
        "--master_port=2000",
    ]


def test_the_number_may_stand_in_accelerates_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nnum_processes: 5\nnum_machines: 1\n"
    )
    command = ["python3", "accelerate", "launch", "--config_file", str(path), "-m", "trainer", "run"]
    assert torchrun_options(command) == ["--standalone", "--nproc_per_node=5"]


@pytest.mark.parametrize(
    "command", [[], ["bash", "launch.sh"], ["python3", "accelerate", "launch", "--bogus", "1", "x"]]
)
def test_what_cannot_be_found_out_is_said(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainerError, match="--multi_gpu"):
        torchrun_options(command)
