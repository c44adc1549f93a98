"""Thin aiohttp client middlewares, one per policy, plus the attempt itself."""
