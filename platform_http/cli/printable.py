"""Text of others on a terminal."""


def printable(text: str) -> str:
    """Return *text* with what would steer a terminal escaped."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
