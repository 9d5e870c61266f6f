#!/usr/bin/env bash
# LoRA on a torch.nn.MultiheadAttention: peft adds the update of its output projection twice, in the forward pass and in
# what it merges alike: W + 2 s B A where its own s (alpha / r) and formula say W + s B A. Both agree with each other, so
# a run with peft shows nothing; whoever merges the saved adapter by the formula gets another model. The joint input
# projection is added once.
#
# Seen on 2026-11-30, Python 3.11, Linux x86-64, torch 2.15.0, transformers 5.23.0:
#   peft 0.21.2: out_proj merged 2.00 s B A; in_proj merged 1.00 s B A; forward equals merged: True
#
# Prints what it sees; exit 1 if that is something else. torch takes some GB of disk while this runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/attention.py" <<'PY'
import peft
import torch
from torch import nn


class Block(nn.Module):
    """An attention layer as the towers of open_clip have it."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attn(x, x, x, need_weights=False)[0]


torch.manual_seed(0)
block = Block().double()
before = {name: value.clone() for name, value in block.attn.state_dict().items()}
adapters = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["attn"], init_lora_weights=False)
model = peft.get_peft_model(block, adapters).double().eval()
layers = [layer for layer in model.modules() if "default" in getattr(layer, "lora_A", {})]
update = {
    "out_proj" if layer.lora_B["default"].weight.shape[0] == 8 else "in_proj": layer.scaling["default"]
    * layer.lora_B["default"].weight
    @ layer.lora_A["default"].weight
    for layer in layers
}
x = torch.randn(1, 3, 8, dtype=torch.double)
wrapped = model(x)
merged = model.merge_and_unload()
for name, key in (("out_proj", "out_proj.weight"), ("in_proj", "in_proj_weight")):
    ratio = ((merged.attn.state_dict()[key] - before[key]) / update[name]).mean()
    print(f"{name} merged {ratio:.2f} s B A", end="; ")
print(f"forward equals merged: {torch.allclose(wrapped, merged(x), atol=1e-12)}")
PY

python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install \
    torch==2.15.0 transformers==5.23.0 peft==0.21.2
"$folder/venv/bin/python" -W ignore "$folder/attention.py" > "$folder/seen.txt"
cat "$folder/seen.txt"
diff <(echo "out_proj merged 2.00 s B A; in_proj merged 1.00 s B A; forward equals merged: True") "$folder/seen.txt"
