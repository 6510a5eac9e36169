"""Learning from judgments: runs as a process of its own, never inside the chat."""
