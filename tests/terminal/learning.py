"""The whole of it as a person meets it: chat, rank, correct, train, duel, look, roll back. Real model, real terminal.

    python -m tests.terminal.learning [FOLDER FOR SCREENSHOTS]

A home with 36 judged prompts (of 20, the gate refused some lessons) is made from the shell first: answers ranked by a
rule, as in loop.py. Then, in tmux: a question, a ranking by J and Enter, a correction, `/train`, the page of training
while it runs, the verdict, a duel of the new version with the base, the pages, `/rollback`. Prints PASS or FAIL lines,
exits 1 on a FAIL.
Not collected by pytest: it needs tmux and some ten minutes on two cores.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.terminal import loop
from tests.terminal.session import Broken, Terminal, check, failed
from trainer.simulation.prompts import drawn

JUDGED = 36  #: prompts before the chat opens


def flat(text: str) -> str:
    return " ".join(text.split())


def judged(folder: Path, home: Path) -> None:
    """Four answers to each of some prompts, ranked."""
    prompts = loop.write(folder / "prompts.jsonl", [{"prompt": prompt} for prompt in drawn("pool", 0)[:JUDGED]])
    answers = loop.hone("ask", "--file", prompts, "-n", 4, "--max-tokens", 96, "--seed", 1000, "--home", home)
    file = loop.write(folder / "judged.jsonl", [loop.rank(answer) for answer in answers])
    loop.hone("judge", "--file", file, "--home", home)


def learn(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="hone-learning-") as temporary:
        home = Path(temporary) / "home"
        judged(Path(temporary), home)
        terminal = Terminal(100, 30, home)

        def say(text: str) -> None:
            terminal.type(text)
            terminal.keys("Enter")

        def seen(name: str, words: str, seconds: float = 15) -> None:
            check(name, terminal.until(lambda text: words in flat(text), seconds))

        def answered(name: str) -> None:
            check(name, terminal.until(lambda text: "1-9" in text, 120))
            time.sleep(0.6)  # the guard against early keys

        def back() -> None:
            """A key right behind Esc would be read as Alt and that key."""
            seen("Esc goes back to the chat", "Why is the sky blue?")

        try:
            seen("the chat opens", "Ask something", 30)
            seen("it counts what waits", f"{JUDGED} waiting", 30)
            say("How can I wake up early?")
            answered("answers come")
            terminal.keys("J")
            seen("J begins a ranking", "Enter records this ranking")
            terminal.keys("Enter")
            seen("Enter records it with its weight", "B > A > C: 3 pairs, weight 1")
            terminal.save(folder, "1-ranked")
            terminal.keys("Enter")  # the first one left the focus with the answers
            seen("Enter again goes to the prompt", "⏎ Send")
            say("Name three fruits.")
            answered("a second turn")
            terminal.keys("e")
            seen("e opens the editor", "Ctrl+S saves")
            terminal.type(" Apples, pears and plums.")
            seen("it shows what is new", "{+")
            terminal.save(folder, "2-correcting")
            terminal.keys("C-s")
            seen("the correction teaches", "correction >")
            terminal.keys("i")
            say("/train")
            seen("a lesson begins", f"begins, with {JUDGED + 2}")
            terminal.keys("F3")
            seen("its page follows it", "Training", 30)
            check("it draws the loss", terminal.until(lambda text: "loss" in text and "%" in text, 300))
            terminal.save(folder, "3-training")
            terminal.keys("Escape")
            ends = ("Lesson 1 is done", "Lesson 1 is not used")  # a lesson that was refused fails the next check
            check("the verdict is told", terminal.until(lambda text: any(end in flat(text) for end in ends), 900))
            seen("the version answers", "Now answering with v1", 30)
            terminal.save(folder, "4-learned")
            say("/duel")
            seen("a duel is offered", "v1 against base")
            terminal.keys("Enter")
            seen("it begins", "Duel: v1 against base")
            say("Why is the sky blue?")
            answered("both answer")
            check("nobody is named before the choice", "tokens · v1" not in terminal.text())
            terminal.save(folder, "5-duel")
            terminal.keys("1")
            seen("who won is said", "won over")
            seen("with the tally", "of 1 so far")
            terminal.save(folder, "6-won")
            terminal.keys("F4")
            seen("the versions are listed", "v1 answers now", 30)
            terminal.save(folder, "7-versions")
            terminal.keys("w")
            seen("what it learned is shown", "Name three fruits", 60)
            seen("the chat gets its version back", "The chat has its own version back", 300)
            terminal.save(folder, "8-compared")
            terminal.keys("Escape")
            seen("Esc goes back to the versions", "v1 answers now")
            terminal.keys("Escape")
            back()
            terminal.keys("F5")
            seen("the judgments are listed", "correction", 30)
            terminal.save(folder, "9-judgments")
            terminal.keys("Escape")
            back()
            terminal.keys("F9")
            seen("insights are drawn", "By week", 60)
            terminal.save(folder, "10-insights")
            terminal.keys("Escape")
            back()
            if "1-9" in terminal.text():  # the answers have the focus
                terminal.keys("i")
            say("/rollback")
            seen("the base answers again", "the base model answers", 30)
            terminal.save(folder, "11-rolled-back")
            terminal.keys("C-q")
            check("Ctrl+Q quits", terminal.until(lambda text: "F1" not in text, 15))
        except Broken:
            print(terminal.text())
            raise
        finally:
            terminal.close()


def main() -> int:
    if shutil.which("tmux") is None:
        print("tmux is needed: apt-get install tmux")
        return 1
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="hone-screens-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        learn(folder)
    except Broken:
        pass
    print(f"screenshots are in {folder}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
