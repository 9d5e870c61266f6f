#!/usr/bin/env bash
# CoCa.generate of open_clip asks for transformers to be installed while it is: one of the names that it imports (a beam
# scorer) is gone since transformers 4.57, a minor release, the guarded import fails as a whole, and the three ways to
# decode, of which two do not use that name, are refused alike. With transformers 4.56 all three run.
#
# Seen on 2026-11-30, Python 3.11, torch 2.15.0, open_clip_torch 3.3.0: see `expected`.
#
# Prints what it sees; exit 1 if that is something else. torch takes some GB of disk while this runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

expected="transformers 5.23.0: beam_search: Please install transformers; top_p: Please install transformers; top_k: Please install transformers
transformers 4.57.1: beam_search: Please install transformers; top_p: Please install transformers; top_k: Please install transformers
transformers 4.56.0: beam_search: runs; top_p: runs; top_k: runs"

cat > "$folder/captions.py" <<'PY'
import open_clip
import torch
import transformers

model = open_clip.create_model("coca_ViT-B-32").eval()
seen = []
for way in ("beam_search", "top_p", "top_k"):
    try:
        model.generate(torch.zeros(1, 3, 224, 224), generation_type=way, seq_len=8)
        seen.append(f"{way}: runs")
    except AssertionError as error:
        seen.append(f"{way}: {str(error)[:27]}")
print(f"transformers {transformers.__version__}: {'; '.join(seen)}")
PY

python3 -m venv "$folder/venv"
for version in 5.23.0 4.57.1 4.56.0; do
    "$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install \
        torch==2.15.0 torchvision open_clip_torch==3.3.0 "transformers==$version"
    "$folder/venv/bin/python" -W ignore "$folder/captions.py" 2> /dev/null
done > "$folder/seen.txt"
cat "$folder/seen.txt"
diff <(echo "$expected") "$folder/seen.txt"
