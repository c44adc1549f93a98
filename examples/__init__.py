"""Runnable examples, one per folder. They use what the library makes public."""
