"""machine: the ground that everything stands on: errors, files, threads, devices, words."""
