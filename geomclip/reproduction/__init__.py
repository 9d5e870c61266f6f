"""Published numbers, and whether they come out here: the table of them, what is run for each, what is said of it."""
