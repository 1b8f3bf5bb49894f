from enum import StrEnum


class TaskStatus(StrEnum):
    RESTARTING = "restarting"
    RUNNING = "running"
    WAITING = "waiting"

    def __str__(self) -> str:
        return str(self.value)
