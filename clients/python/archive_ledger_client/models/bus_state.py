from enum import StrEnum


class BusState(StrEnum):
    OK = "ok"
    STALLED = "stalled"
    UNAVAILABLE = "unavailable"

    def __str__(self) -> str:
        return str(self.value)
