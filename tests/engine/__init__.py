"""The engine, mostly on the real bundled model."""
