#!/usr/bin/env bash
# TorchDR 0.5 installed by itself does not import: it needs matplotlib, which only its extras for documents and examples
# name. With that, UMAP and LargeVis as they come cannot be fitted, while TSNE can: their default backend is faiss, which
# neither a requirement nor an extra names, and what says so is an AttributeError of a bool. backend=None fits both; so does
# installing faiss-cpu.
#
# Seen on 2026-11-30, Python 3.11, torch 2.15.0, torchdr 0.5, matplotlib 3.11.2, faiss-cpu 1.15.1: see `expected`.
#
# Prints what it sees; exit 1 if that is something else. torch takes some GB of disk while this runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

expected="torchdr alone
  import torchdr: No module named 'matplotlib'
with matplotlib
  UMAP: AttributeError: 'bool' object has no attribute 'IndexFlatL2'; backend=None: (200, 2)
  TSNE: (200, 2); backend=None: (200, 2)
  LargeVis: AttributeError: 'bool' object has no attribute 'IndexFlatL2'; backend=None: (200, 2)
with matplotlib and faiss-cpu
  UMAP: (200, 2); backend=None: (200, 2)
  TSNE: (200, 2); backend=None: (200, 2)
  LargeVis: (200, 2); backend=None: (200, 2)"

cat > "$folder/maps.py" <<'PY'
import sys

import torch

print(sys.argv[1])
try:
    import torchdr
except ModuleNotFoundError as error:
    raise SystemExit(f"  import torchdr: {error}")
rows = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
for name, neighbors in (("UMAP", "n_neighbors"), ("TSNE", "perplexity"), ("LargeVis", "perplexity")):
    said = []
    for options in ({}, {"backend": None}):
        try:
            shape = getattr(torchdr, name)(max_iter=5, **{neighbors: 10}, **options).fit_transform(rows).shape
            said.append(f"{tuple(shape)}")
        except AttributeError as error:
            said.append(f"AttributeError: {error}")
    print(f"  {name}: {said[0]}; backend=None: {said[1]}")
PY

python3 -m venv "$folder/venv"
install() { "$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install "$@"; }
fit() { "$folder/venv/bin/python" -W ignore "$folder/maps.py" "$1" 2>&1 || true; }
{
    install torch==2.15.0 numpy==2.4.6 torchdr==0.5 && fit "torchdr alone"
    install matplotlib==3.11.2 && fit "with matplotlib"
    install faiss-cpu==1.15.1 && fit "with matplotlib and faiss-cpu"
} > "$folder/seen.txt"
cat "$folder/seen.txt"
diff <(echo "$expected") "$folder/seen.txt"
