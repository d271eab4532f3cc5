from dataclasses import dataclass


@dataclass(frozen=True)
class Channel:
    url: str
