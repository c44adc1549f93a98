"""What the library costs, always as a ratio within one interleaved run."""
