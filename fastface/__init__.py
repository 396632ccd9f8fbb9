"""fastface: who is who in a collection of face photos, and what the embedding knows."""

from __future__ import annotations

__version__ = "0.1.0"
