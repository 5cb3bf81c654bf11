"""`echod fuzz`: hypothesis looks for a payload that an echo server gets wrong."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.connect import Port
from echo.cli.failure import USAGE, Failure
from echo.cli.output import check_output, show, show_json, unreachable
from echo.limits import BEYOND_BUFFERS, LONGEST, PAYLOAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.client.cases import Finding
    from echo.client.fuzz import Fuzzer

SEEDS = 2**32


def fuzz(
    host: str = "127.0.0.1",
    port: Port = 9000,
    /,
    *,
    max_examples: Annotated[int, Parameter(validator=Number(gte=1, lte=1_000_000))] = 100,
    max_size: Annotated[
        int, Parameter(validator=Number(gte=0, lte=PAYLOAD_BYTES))
    ] = BEYOND_BUFFERS,
    seed: int | None = None,
    deadline: Annotated[float, Parameter(validator=Number(gt=0, lte=LONGEST))] = 2.0,
    half_close: bool = True,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Fuzz a server.

    Parameters
    ----------
    host
        Address or name of the server.
    port
        Its TCP port.
    max_examples
        Cases that are drawn; making a found one smaller takes more.
    max_size
        Bytes of the largest payload; by default it is more than the socket buffers hold.
    seed
        Number that the cases follow from, to repeat a search; by default another each time.
    deadline
        Seconds without progress after which a case has failed.
    half_close
        Try half-closes, too; without, the rest of a server that gets them wrong can be searched.
    json
        Show only the result, as one JSON object.
    """
    check_output("fuzz")
    fuzzer = _fuzzer()(
        host,
        port,
        max_examples=max_examples,
        max_size=max_size,
        seed=secrets.randbelow(SEEDS) if seed is None else seed,
        deadline=deadline,
        half_close=half_close,
    )
    try:
        _search(fuzzer)
    except KeyboardInterrupt:  # what is found by then is shown, though it could be smaller
        if fuzzer.finding is None:
            raise
    except OSError as error:
        raise unreachable("fuzz", host, port, error) from error
    finding = fuzzer.finding  # after a Ctrl-C a smaller one may come meanwhile
    if json:
        show_json(_result(fuzzer, finding))
    else:
        show(*_report(fuzzer, finding))
    if finding is not None:
        raise Failure(f"fuzz: {host} port {port} gets a case wrong: {finding.problem}")


def _search(fuzzer: Fuzzer) -> None:
    """Search in a thread of its own, which ends with the process.

    Signals are the main thread's. hypothesis is called by the garbage collector, and a Ctrl-C
    that strikes there is shown as a traceback, and lost.
    """
    over: Future[None] = Future()

    def work() -> None:
        try:
            fuzzer.search()
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            over.set_exception(error)
        else:
            over.set_result(None)

    threading.Thread(target=work, name="fuzz", daemon=True).start()
    over.result()


def _fuzzer() -> type[Fuzzer]:
    try:
        from echo.client.fuzz import Fuzzer
    except ModuleNotFoundError as error:
        raise Failure(
            "fuzz: hypothesis is not installed: pip install 'echo-daemon[fuzz]'", USAGE
        ) from error
    return Fuzzer


def _result(fuzzer: Fuzzer, finding: Finding | None) -> dict[str, object]:
    return {
        "examples": fuzzer.examples,
        "seed": fuzzer.seed,
        "problem": finding and finding.problem,
        "case": finding and finding.case.as_dict(),
        "nc": finding and finding.case.nc(fuzzer.host, fuzzer.port),
    }


def _report(fuzzer: Fuzzer, finding: Finding | None) -> Iterator[str]:
    if finding is None:
        yield f"{fuzzer.examples} cases tried with seed {fuzzer.seed}: every echo came back right"
        return
    yield f"{fuzzer.examples} cases tried with seed {fuzzer.seed}; the smallest that went wrong:"
    yield f"  payload of {len(finding.case.payload)} bytes"
    yield from (f"  {number}. {step}" for number, step in enumerate(finding.case.steps(), 1))
    yield f"  wrong: {finding.problem}"
    line = finding.case.nc(fuzzer.host, fuzzer.port)
    if line is not None:
        yield f"with nc: {line}"
