"""The user's data: one SQLite file, its migrations, and what is derived from it."""
