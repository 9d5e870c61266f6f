"""Evaluations: what a space is good for, each a task whose result is a panel that compare, tables and gates take."""
