#!/usr/bin/env bash
# csr_array keeps the int64 of the coordinates that it is made from; csr_matrix narrows them to int32. Some searches
# of scipy.sparse.csgraph take only int32, so the same four-point graph is searched as a matrix and refused as an array.
#
# Seen on 2026-11-29, Python 3.11, numpy 2.2.6 (connected_components takes both in all three):
#   scipy 1.13.1  array int64: dijkstra ValueError, minimum_spanning_tree ValueError; matrix int32: both run
#   scipy 1.17.0  array int64: dijkstra runs,       minimum_spanning_tree ValueError; matrix int32: both run
#   scipy 1.17.1  array int64: both run;                                              matrix int32: both run
# So "works with arrays" was mended for one search a release before the other. geomclip narrows the indices itself.
#
# Prints what it sees; exit 1 if that is something else.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

expected="1.13.1 array int64: dijkstra ValueError, minimum_spanning_tree ValueError
1.13.1 matrix int32: dijkstra runs, minimum_spanning_tree runs
1.17.0 array int64: dijkstra runs, minimum_spanning_tree ValueError
1.17.0 matrix int32: dijkstra runs, minimum_spanning_tree runs
1.17.1 array int64: dijkstra runs, minimum_spanning_tree runs
1.17.1 matrix int32: dijkstra runs, minimum_spanning_tree runs"

cat > "$folder/searches.py" <<'PY'
import numpy as np
import scipy
from scipy.sparse import csr_array, csr_matrix
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree

ends = np.array([0, 1, 2]), np.array([1, 2, 3])  # a line of four points, edges of length 1
for name, kind in (("array", csr_array), ("matrix", csr_matrix)):
    graph = kind((np.ones(3), ends), shape=(4, 4))
    seen = []
    for search in (dijkstra, minimum_spanning_tree):
        try:
            search(graph)
            seen.append(f"{search.__name__} runs")
        except ValueError:
            seen.append(f"{search.__name__} ValueError")
    print(f"{scipy.__version__} {name} {graph.indices.dtype}: {', '.join(seen)}")
PY

for version in 1.13.1 1.17.0 1.17.1; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip --disable-pip-version-check --quiet install "scipy==$version" "numpy==2.2.6"
    "$folder/$version/bin/python" "$folder/searches.py"
done > "$folder/seen.txt"

cat "$folder/seen.txt"
diff <(echo "$expected") "$folder/seen.txt"
