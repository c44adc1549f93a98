"""The test suite of a small service, to be copied.

Run it with ``pytest -c examples/testing/pytest.ini examples/testing``.
"""
