"""Inside the loops of others: each file is a thin callback for one of them, imported where it is asked for."""
