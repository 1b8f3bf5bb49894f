from enum import StrEnum


class EntityType(StrEnum):
    ARCHIVES = "archives"
    BACKUPS = "backups"
    DOMAINS = "domains"
    ENVIRONMENTS = "environments"
    INSTANCES = "instances"
    ORGANIZATIONS = "organizations"
    PROJECTS = "projects"
    SERVERS = "servers"
    USERS = "users"

    def __str__(self) -> str:
        return str(self.value)
