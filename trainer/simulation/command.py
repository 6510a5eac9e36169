"""`python -m trainer simulate`: reads what was asked for, and prints what came of it."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import Any

from chatapp.clean import clean
from chatapp.config import Settings
from trainer.config import CONFIGS, TrainConfig
from trainer.errors import BadSetting
from trainer.simulate import Plan, Simulation, simulate
from trainer.simulation import report
from trainer.simulation.plot import learning_curve
from trainer.simulation.progress import Progress
from trainer.users import USERS, User, user

OK, FAILED = 0, 1
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(settings: Settings, arguments: argparse.Namespace, overrides: dict[str, Any]) -> int:
    """Exit code 0 only if everything ran to its end; a run that failed (not: was refused) makes it 1."""
    if arguments.list:
        rows = [{"user": u.name, "taste": u.taste, "common": u.common} for u in USERS.values()]
        return _print(rows, arguments.json)
    users = list(USERS.values()) if arguments.user == "all" else [user(n.strip()) for n in arguments.user.split(",")]
    then = user(arguments.then) if arguments.then else None
    CONFIGS.get(arguments.method, TrainConfig).read(overrides)  # a wrong one is named before anything starts
    plan = Plan(
        judgments=_numbers(arguments.judgments),
        seed=arguments.seed,
        flip=arguments.flip,
        kinds=arguments.kinds,
        method=arguments.method,
        rule=arguments.rule,
        rounds=arguments.rounds,
        test_prompts=arguments.prompts,
        compare_all=arguments.compare_all,
        keep=arguments.keep.absolute() if arguments.keep else None,
        overrides=overrides,
    )
    if then is not None and plan.rounds == 1:
        raise BadSetting("--then names the user from the second round on: give --rounds too")
    if plan.keep is not None and len(users) > 1:
        raise BadSetting(f"--keep keeps the rounds of one user, not of {len(users)}: give --user NAME")
    if arguments.plot is not None and not arguments.plot.absolute().parent.is_dir():
        raise BadSetting(f"there is no folder {arguments.plot.parent} for the picture")
    for ending in _ENDINGS:  # the temporary home and the trainer go with this process
        signal.signal(ending, _interrupt)
    progress = Progress()
    try:
        if arguments.survey is not None:
            return _survey(settings, plan, users, arguments, progress)
        return _simulate(settings, plan, users, then, arguments, progress)
    finally:
        progress.end()


def _survey(
    settings: Settings, plan: Plan, users: list[User], arguments: argparse.Namespace, progress: Progress
) -> int:
    if arguments.survey < 1:
        raise BadSetting(f"--survey is {arguments.survey}; it must be at least 1")
    with Simulation(settings, plan, progress) as simulation:
        found = simulation.survey(users, arguments.survey)
    progress.end()
    return _print([{"taste": user(row["user"]).taste, **row} for row in found], arguments.json)


def _simulate(
    settings: Settings,
    plan: Plan,
    users: list[User],
    then: User | None,
    arguments: argparse.Namespace,
    progress: Progress,
) -> int:
    rows = []
    out = sys.stderr if arguments.json else sys.stdout  # hours of work are seen as they come
    print(report.HEAD, file=out, flush=True)
    for row in simulate(settings, plan, users, progress, then):
        rows.append(row.as_dict())
        progress.end()
        print(clean(report.line(rows[-1])), file=out, flush=True)
        if arguments.plot is not None:
            arguments.plot.write_text(learning_curve(rows), encoding="utf-8")
    if arguments.json:
        print(json.dumps({"rows": rows}))
    return OK if rows and all(row["state"] in ("done", "rejected") for row in rows) else FAILED


def _print(rows: list[dict[str, Any]], as_json: bool) -> int:
    print(json.dumps({"rows": rows}) if as_json else "\n".join(report.users_table(rows)))
    return OK


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadSetting(f"judgments is {text!r}; it must be a number, or several with commas: 10,20,40") from None


def _interrupt(*_: object) -> None:
    for ending in _ENDINGS:  # a second one must not stop the cleaning up
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt
