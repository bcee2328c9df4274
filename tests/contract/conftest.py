"""Makes the backends of this folder importable by name, here and in child processes."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # at once: test modules import the backends when they are collected
