from enum import StrEnum


class ClockStatus(StrEnum):
    MOVED = "moved"
    OK = "ok"

    def __str__(self) -> str:
        return str(self.value)
