"""Makes the backends of this folder importable by name, here and in child processes."""

import sys
from pathlib import Path

_HERE = Path(__file__).parent
# At once: test modules import the backends when they are collected.
sys.path += [str(_HERE), str(_HERE / "third_party"), str(_HERE / "planted")]
