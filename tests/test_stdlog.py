"""A logger of the standard library takes the server's events."""

from __future__ import annotations

import logging
from typing import Any

from echo.events import EVENTS
from echo.stdlog import event_logger


class Records(logging.Handler):
    """Keeps the records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.records.append(record)


def recorded(level: int = logging.DEBUG) -> tuple[logging.Logger, list[logging.LogRecord]]:
    """Return a logger that no other test has, and its records."""
    handler = Records()
    logger = logging.Logger("test", level)
    logger.addHandler(handler)
    return logger, handler.records


def test_every_event_of_the_vocabulary_arrives() -> None:
    """Its name, level and fields are in the message and in the record."""
    logger, records = recorded()
    for event in EVENTS.values():
        fields = {name: f"<{name}>" for name in (*event.fields, *event.optional)}
        getattr(event_logger(logger), event.level)(event.name, **fields)

    assert len(records) == len(EVENTS)
    for record, event in zip(records, EVENTS.values(), strict=True):
        assert record.levelname == event.level.upper()
        assert vars(record)["event"] == event.name
        assert record.getMessage().startswith(f"{event.name} ")
        for name in (*event.fields, *event.optional):
            assert vars(record)[name] == f"<{name}>"
            assert f'{name}="<{name}>"' in record.getMessage()


def test_no_field_breaks_a_line_or_a_record() -> None:
    """Control characters, surrogates, objects, names of the record's own: one line out."""
    logger, records = recorded()
    odd: Any = {"preview": "a\n\x1b[2J\u2028\ud800", "thing": object(), "name": "x", "message": 1}
    event_logger(logger).info("session.data", **odd)
    (record,) = records

    assert record.getMessage().isascii()
    assert record.getMessage().isprintable()
    assert record.name == "test"
    assert 'name="x" message=1' in record.getMessage()


def test_the_logger_s_level_decides() -> None:
    """What is below the level costs no text."""
    logger, records = recorded(logging.ERROR)

    class Untold:
        def __repr__(self) -> str:
            raise AssertionError("it was rendered")

    event_logger(logger).warning("session.refused", reason=Untold())

    assert records == []


def test_an_adapter_is_a_standard_logger_too() -> None:
    """A `LoggerAdapter` adds what it adds to every record."""
    logger, records = recorded()
    event_logger(logging.LoggerAdapter(logger, {"site": "here"})).error("server.error", where="x")

    assert records[0].getMessage() == 'server.error where="x"'
    assert vars(records[0])["site"] == "here"


def test_other_loggers_take_events_already() -> None:
    """Loggers of structlog, and whatever has their methods, stay as they are."""
    log = object()

    assert event_logger(log) is log
    assert "EventLogger" in repr(event_logger(logging.getLogger()))
