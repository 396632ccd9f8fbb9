"""dlib's network files: read without dlib, and built again as ONNX graphs."""

from __future__ import annotations

from fastface.models.dlib.network import Network, read_network

__all__ = ["Network", "read_network"]
