"""`echod fuzz`: hypothesis looks for a payload that an echo server gets wrong."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.failure import Failure, missing_extra
from echo.cli.output import check_output, show, show_json
from echo.cli.target import Target
from echo.limits import BEYOND_BUFFERS, LONGEST, PAYLOAD_BYTES
from echo.units import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.client.cases import FailedCase
    from echo.client.fuzz import Fuzzer

SEEDS = 2**32


def fuzz(
    target: Annotated[Target, Parameter(name="*")] = Target(),
    *,
    max_examples: Annotated[int, Parameter(validator=Number(gte=1, lte=1_000_000))] = 100,
    max_size: Annotated[
        int, Parameter(validator=Number(gte=0, lte=PAYLOAD_BYTES), show_default="16M")
    ] = BEYOND_BUFFERS,
    seed: int | None = None,
    deadline: Annotated[float, Parameter(validator=Number(gt=0, lte=LONGEST))] = 2.0,
    half_close: bool = True,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Fuzz a server.

    Parameters
    ----------
    max_examples
        Cases to try; making a found one smaller takes more.
    max_size
        Size of the largest payload; the default is more than the socket buffers hold.
    seed
        Number that decides which cases are tried, to repeat a search; by default a new one.
    deadline
        Time without progress after which a case has failed.
    half_close
        Try half-closes, too; leave them out to search a server that gets them wrong.
    json
        Show only the result, as one JSON object.
    """
    check_output("fuzz")
    fuzzer = _fuzzer()(
        target.host,
        target.port,
        tls=target.context("fuzz"),
        max_examples=max_examples,
        max_size=max_size,
        seed=secrets.randbelow(SEEDS) if seed is None else seed,
        deadline=deadline,
        half_close=half_close,
    )
    try:
        _search(fuzzer)
    except KeyboardInterrupt:  # a case found by then is shown, though it could be smaller
        if fuzzer.finding is None:
            raise
    except OSError as error:
        raise target.unreachable("fuzz", error) from error
    finding = fuzzer.finding  # after a Ctrl-C a smaller one may come meanwhile
    nc = None
    if finding is not None and not target.tls:
        nc = finding.case.nc(target.host, target.port)
    if json:
        show_json(_result(fuzzer, finding, nc))
    else:
        show(*_report(fuzzer, finding, nc))
    if finding is not None:
        raise Failure(f"fuzz: {target} gets a case wrong: {finding.problem}")


def _search(fuzzer: Fuzzer) -> None:
    """Search in a thread of its own, which ends with the process.

    The main thread handles signals. hypothesis has a hook in the garbage collector, and an
    exception that Ctrl-C raises in such a hook is printed as a traceback, and lost.
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
        raise missing_extra("fuzz", "hypothesis", "fuzz") from error
    return Fuzzer


def _result(fuzzer: Fuzzer, finding: FailedCase | None, nc: str | None) -> dict[str, object]:
    return {
        "examples": fuzzer.examples,
        "seed": fuzzer.seed,
        "problem": finding and finding.problem,
        "case": finding and finding.case.as_dict(),
        "nc": nc,
    }


def _report(fuzzer: Fuzzer, finding: FailedCase | None, nc: str | None) -> Iterator[str]:
    tried = f"{plural(fuzzer.examples, 'case')} tried with seed {fuzzer.seed}"
    if finding is None:
        yield f"{tried}: every echo came back right"
        return
    yield f"{tried}; the smallest that went wrong:"
    yield f"  payload of {plural(len(finding.case.payload), 'byte')}"
    yield from (f"  {number}. {step}" for number, step in enumerate(finding.case.steps(), 1))
    yield f"  wrong: {finding.problem}"
    if nc is not None:
        yield f"with nc: {nc}"
