"""Thin aiohttp client middlewares, one per policy; the last are gates that the attempt asks."""
