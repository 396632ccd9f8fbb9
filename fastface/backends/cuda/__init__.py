"""NVIDIA GPUs: kernels in CUDA C++ that are compiled when they are first needed."""
