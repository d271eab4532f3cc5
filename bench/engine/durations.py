"""Times as people say them."""


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(3.2), duration(65), duration(7300)
    ('4 s', '1 min 5 s', '2 h 1 min')
    """
    whole = int(-(-seconds // 1))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
