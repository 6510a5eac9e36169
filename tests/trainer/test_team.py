"""Several processes learn what one learns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]


def fitted(processes: int, path: Path) -> dict[str, torch.Tensor]:
    # what `accelerate launch` starts for several devices; on a CPU it starts one process, so torchrun does it here
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    result = subprocess.run(
        [sys.executable, *launch, "-m", "tests.trainer.team_fit", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(processes)]
    return load_file(path)


def test_two_processes_give_the_adapter_of_one(tmp_path: Path) -> None:
    """The same steps up to the rounding of sums; Adam turns rounding of tiny gradients into small differences."""
    one, two = fitted(1, tmp_path / "one"), fitted(2, tmp_path / "two")
    a = torch.cat([t.flatten() for _, t in sorted(one.items())])
    b = torch.cat([t.flatten() for _, t in sorted(two.items())])
    assert torch.cosine_similarity(a, b, dim=0) > 0.999
