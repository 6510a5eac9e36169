"""Finds the files of the top-level assets folder, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path


def asset(name: str) -> Path:
    """The path of assets/name. Raises FileNotFoundError with both places looked at."""
    here = Path(__file__).resolve().parent
    places = [here / "_assets" / name, here.parent / "assets" / name]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"asset {name} is in neither {places[0]} nor {places[1]}: the installation is incomplete")
