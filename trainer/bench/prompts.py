"""Eighty-eight everyday requests of our own for the measurements; none needs a long or exact answer."""

from trainer.simulation.prompts import prompts

PROMPTS = tuple(prompts()[:88])
