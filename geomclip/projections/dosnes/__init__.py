"""DOSNES: neighbours on a sphere from doubly stochastic affinities."""
