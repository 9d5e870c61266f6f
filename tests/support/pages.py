"""What pages carry inside them, for tests of reports."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any


def carried(page: str, block: str = "geomclip-data") -> Any:
    """What a data block of a page holds."""
    found = re.search(rf'<script type="text/plain" id="{block}">([^<]*)</script>', page)
    assert found is not None, f"no block {block}"
    return json.loads(zlib.decompress(base64.b64decode(found[1])))
