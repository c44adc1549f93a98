from tests.functional.conftest import observed

__all__ = ["observed"]
