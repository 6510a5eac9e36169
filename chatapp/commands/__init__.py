"""What the subcommands of `hone` do: a file for each family, heavy imports inside the functions."""
