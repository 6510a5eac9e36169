"""The chat without a full screen: for screen readers, pipes and the smallest terminals. One line in, lines out.

It is the same session as the full-screen chat, so everything said here is found there. What is heard is whole lines of
words: nothing is told by colour, by a place on the screen or by a sign that a reader may pass over.
"""

from chatapp.plain.chat import run_plain

__all__ = ["run_plain"]
