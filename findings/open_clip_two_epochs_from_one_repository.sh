#!/usr/bin/env bash
# open_clip's table of weights sends two tags of ViT-B-16-plus-240, of epoch 31 and of epoch 32, to one repository of the
# hub, that of epoch 31; their other addresses differ. The hub is asked first, so the tag of epoch 32 gives the weights
# of epoch 31. No other two tags of one architecture share a repository; the same two epochs of ViT-B-32 do not.
#
# Seen on 2026-11-30, Python 3.11:
#   open_clip_torch 3.3.0: see `expected`
#
# Prints what it sees; exit 1 if that is something else. torch takes some GB of disk while this runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

expected="3.3.0: ViT-B-16-plus-240: laion400m_e31 and laion400m_e32 from timm/vit_base_patch16_plus_clip_240.laion400m_e31/
other addresses: vit_b_16_plus_240-laion400m_e31-8fb26589.pt, vit_b_16_plus_240-laion400m_e32-699c4b84.pt"

cat > "$folder/tags.py" <<'PY'
from collections import defaultdict

import open_clip

tags = defaultdict(list)
for arch, tag in open_clip.list_pretrained():
    repository = open_clip.get_pretrained_cfg(arch, tag).get("hf_hub")
    if repository:
        tags[arch, repository].append(tag)
for (arch, repository), several in tags.items():
    if len(several) > 1:
        print(f"{open_clip.__version__}: {arch}: {' and '.join(several)} from {repository}")
        addresses = (open_clip.get_pretrained_cfg(arch, tag)["url"] for tag in several)
        print("other addresses:", ", ".join(address.rpartition("/")[2] for address in addresses))
PY

python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install \
    torch==2.15.0 torchvision open_clip_torch==3.3.0
"$folder/venv/bin/python" -W ignore "$folder/tags.py" > "$folder/seen.txt"
cat "$folder/seen.txt"
diff <(echo "$expected") "$folder/seen.txt"
