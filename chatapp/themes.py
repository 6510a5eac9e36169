"""Two themes of our own, one dark, one light; Textual's are there beside them."""

from __future__ import annotations

from textual.theme import Theme


def _cursor(color: str, text: str) -> dict[str, str]:
    """The chosen row of a list: tinted, so that what is dimmed in it can still be read."""
    return {
        "block-cursor-background": f"{color} 40%",
        "block-cursor-foreground": text,
        "block-cursor-blurred-background": f"{color} 20%",
        "block-cursor-blurred-foreground": text,
    }


THEMES = (
    Theme(
        name="hone-dark",
        primary="#7aa2d6",
        secondary="#8f9bb3",
        accent="#e0a458",
        warning="#e5c07b",
        error="#e06c75",
        success="#8fbf7f",
        foreground="#d8dbe0",
        background="#16181d",
        surface="#1d2027",
        panel="#262a33",
        dark=True,
        variables={
            "footer-key-foreground": "#e0a458",
            "input-selection-background": "#7aa2d6 35%",
            **_cursor("#7aa2d6", "#d8dbe0"),
        },
    ),
    Theme(
        name="hone-light",
        primary="#2f5d8c",
        secondary="#5a6472",
        accent="#a35200",
        warning="#8a5a00",
        error="#b3261e",
        success="#2c6e36",
        foreground="#22262c",
        background="#faf8f4",
        surface="#f0ede6",
        panel="#e4dfd5",
        dark=False,
        variables={
            "footer-key-foreground": "#a35200",
            "input-selection-background": "#2f5d8c 25%",
            **_cursor("#2f5d8c", "#22262c"),
        },
    ),
)
