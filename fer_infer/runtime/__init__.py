"""ONNX Runtime: sessions, the threads that run them, and what CUDA needs."""
