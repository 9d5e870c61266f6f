"""Spherical MDS under moments: great-circle distances that follow the angles between rows."""
