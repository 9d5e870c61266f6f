"""Watching: what is looked at while a model trains, and where it is written."""
