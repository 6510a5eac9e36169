"""The parts of `hone simulate`: prompts, answers, judging, the comparison, the picture. trainer/simulate.py joins them.

Nothing here imports torch: the training run is another process, as it is for the chat.
"""
