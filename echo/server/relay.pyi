from array import array

EOF: int
SHOW: int
DRAIN: int
BYTE_LIMIT: int
IDLE_TIMEOUT: int
SESSION_TIMEOUT: int
WRITE_TIMEOUT: int

class Relay:
    received_bytes: int
    sent_bytes: int

    def __init__(
        self,
        fd: int,
        bell: int,
        buffer: memoryview,
        switch: array[int],
        idle: float,
        patience: float,
        deadline: float,
        max_bytes: int,
        narrow: frozenset[int],
        wide: frozenset[int],
    ) -> None: ...
    def run(self) -> int: ...
