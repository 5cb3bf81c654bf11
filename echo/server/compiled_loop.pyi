from array import array

END_OF_STREAM: int
SHOW: int
DRAINED: int
BYTE_LIMIT: int
IDLE_TIMEOUT: int
SESSION_TIMEOUT: int
WRITE_TIMEOUT: int

class Processors:
    def __init__(self, pinned: frozenset[int], allowed: frozenset[int]) -> None: ...

class CompiledLoop:
    received_bytes: int
    sent_bytes: int

    def __init__(
        self,
        fd: int,
        wakeup: int,
        flags: array[int],
        buffer_size: int,
        idle_timeout: float,
        write_timeout: float,
        deadline: float,
        max_bytes: int,
        processors: Processors,
    ) -> None: ...
    def run(self) -> int: ...
