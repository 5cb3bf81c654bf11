from array import array
from collections.abc import Collection

END_OF_STREAM: int
SHOW: int
DRAINED: int
BYTE_LIMIT: int
IDLE_TIMEOUT: int
SESSION_TIMEOUT: int
WRITE_TIMEOUT: int

class Settings:
    def __init__(
        self,
        wakeup: int,
        flags: array[int],
        buffer_size: int,
        idle_timeout: float,
        write_timeout: float,
        max_bytes: int,
        pinned: Collection[int] = (),
        allowed: Collection[int] = (),
    ) -> None: ...

class CompiledLoop:
    received_bytes: int
    sent_bytes: int

    def __init__(self, fd: int, deadline: float, settings: Settings) -> None: ...
    def run(self) -> int: ...
