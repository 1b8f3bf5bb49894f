from enum import StrEnum


class CircuitScope(StrEnum):
    ENDPOINT = "endpoint"
    URL = "url"

    def __str__(self) -> str:
        return str(self.value)
