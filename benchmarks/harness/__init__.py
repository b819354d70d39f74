"""What the benchmarks share: options, input faces, interleaved timing, tables and hardware limits."""
