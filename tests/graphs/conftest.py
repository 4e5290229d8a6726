"""Makes the helpers beside this file importable: ``graph_samples`` (topologies) and ``graph_oracles`` (meanings)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
