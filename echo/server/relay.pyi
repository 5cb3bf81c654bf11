from array import array

EOF: int
SHOW: int
FULL: int
DRAIN: int
BYTE_LIMIT: int
IDLE_TIMEOUT: int
SESSION_TIMEOUT: int
WRITE_TIMEOUT: int

class Processors:
    def __init__(self, narrow: frozenset[int], wide: frozenset[int]) -> None: ...

class Relay:
    received_bytes: int
    sent_bytes: int
    buffer: memoryview
    unseen: int

    def __init__(
        self,
        fd: int,
        bell: int,
        buffer: memoryview,
        buffer_size: int,
        switches: array[int],
        idle: float,
        patience: float,
        deadline: float,
        max_bytes: int,
        processors: Processors,
    ) -> None: ...
    def run(self) -> int: ...
