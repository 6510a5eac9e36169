"""The course of a run that learned from a reward: what it earned against how far it drifted, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

from storage.store import Store

PREFIX = "ppo."
WIDTH = 32  #: characters of the longest bar

Row = dict[str, float]


def course(store: Store, run_id: str) -> list[Row]:
    """Figures of each batch before it was learned from, by their names; "batch" counts from 1. Empty for other runs."""
    found: dict[int, Row] = {}
    for step, name, value in store.runs.read_metrics(run_id):
        if name.startswith(PREFIX):
            found.setdefault(step, {"batch": step})[name.removeprefix(PREFIX)] = value
    return [row for _, row in sorted(found.items()) if "reward" in row and "kl" in row]


def drawn(rows: Sequence[Row]) -> list[str]:
    """Lines of a chart: the drift to the base in nats a token, the mean reward, and a bar as long as it is high."""
    low, high = min(row["reward"] for row in rows), max(row["reward"] for row in rows)
    lines = ["batch  drift  reward"]
    for row in rows:
        share = (row["reward"] - low) / (high - low) if high > low else 1.0
        bar = "█" * (1 + round(share * (WIDTH - 1)))
        lines.append(f"{row['batch']:>5.0f}  {row['kl']:.3f}  {row['reward']:+6.2f}  {bar}")
    return lines
