"""A fit of the tiny model, by itself or under `accelerate launch`: writes the adapter's weights to the given file."""

from __future__ import annotations

import sys
from dataclasses import replace

from trainer.launch import start_the_others


def main(path: str) -> int:
    if (code := start_the_others("tests.trainer.team_fit", [path])) is not None:
        return code
    import torch
    from safetensors.torch import save_file

    from tests.trainer.conftest import tiny_lora
    from tests.trainer.test_fit import CONFIG, turns
    from trainer.features import Callbacks, prepare
    from trainer.fit import fit
    from trainer.logprobs import TokenTurn
    from trainer.team import Team

    torch.set_num_threads(1)
    team, lora = Team(), tiny_lora()
    # seven turns, two a step: in the last step of a pass one process has nothing to do but ordinary text
    works = team.share(prepare(turns("pairs", 7), lora, CONFIG, None, Callbacks()))
    texts = [TokenTurn([40 + i, 41 + i], [[50 + i, 60 + i, 70 + i]]) for i in range(4)] if team.is_main else []
    fit(lora, works, replace(CONFIG, epochs=3, ordinary_weight=0.5), team, Callbacks(), texts)
    if team.is_main:
        print(team.size)
        save_file(lora.state(), path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
