"""Makes the folder of a new plugin; every file works, and is there to be changed."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from sam_audio.errors import UserError
