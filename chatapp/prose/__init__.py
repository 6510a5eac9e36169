"""The text of a model as the reader sees it: cut into blocks, each laid out for the width that there is."""
