"""The parts of reading a table: its dialect, its columns, its cells, its paths, its images."""
