"""ONNX Runtime: sessions, threads and CUDA."""
