"""Talks to llama.cpp. A leaf: knows nothing of Textual, storage or trainer."""
