"""A fit of the tiny model, by itself or under `accelerate launch`: writes the adapter's weights to the given file."""

from __future__ import annotations

import sys

from safetensors.torch import save_file

from tests.trainer.conftest import tiny_lora
from tests.trainer.test_fit import CONFIG, turns
from trainer.fit import Callbacks, fit, prepare
from trainer.team import Team


def main(path: str) -> None:
    team, lora = Team(), tiny_lora()
    work = team.share(prepare(turns("pairs"), lora, CONFIG, None, Callbacks()))
    fit(lora, work, CONFIG, team, Callbacks())
    if team.is_main:
        print(team.size)
        save_file(lora.state(), path)


if __name__ == "__main__":
    main(sys.argv[1])
