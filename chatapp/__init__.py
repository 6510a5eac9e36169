"""The face of Hone: command line, chat and engine."""
