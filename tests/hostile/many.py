"""What an attacker needs that holds thousands of connections."""

import resource


def allow_many_sockets() -> None:
    """Raise the limit of open files of this process as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
