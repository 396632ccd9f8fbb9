"""What embeddings tell apart: splits found without labels, and what they are worth."""

from __future__ import annotations

from fastface.attributes.estimator import AttributeDiscovery
from fastface.attributes.significance import AttributeScore
from fastface.attributes.splits import Split
from fastface.attributes.tree import SplitNode

__all__ = ["AttributeDiscovery", "AttributeScore", "Split", "SplitNode"]
