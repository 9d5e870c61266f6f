"""Papers: numbers of several panels as one table, in LaTeX, Markdown and CSV; and BibTeX of what numbers come from."""
