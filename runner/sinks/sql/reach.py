"""A connection that may be lost: made when it is needed, made again when it went away.

Owns   how often and how long a database is waited for, and what is told of it in the end.
Knows  sessions and dialects. What is done over a session must be something that can be done twice.

Source of the waits: a restart of PostgreSQL takes a few seconds (checkpoint, recovery), a failover of a managed one up
to half a minute or more; who waits longer holds up the other sinks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from runner.connections import Connection
from runner.errors import DeliveryError, RunnerError
from runner.sinks.sql.opening import open_session
from runner.sinks.sql.session import Dialect, Session, is_of_a_driver

WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Between one try and the next: half a minute together."""

_T = TypeVar("_T")


class Reach:
    """One database, one session at a time."""

    def __init__(
        self, connection: Connection, root: Path, dialect: Dialect, shown: str, pause: Callable[[float], bool]
    ) -> None:
        self._connection = connection
        self._root = root
        self._dialect = dialect
        self._shown = shown
        self._pause = pause
        self._session: Session | None = None

    def attempt(self, act: Callable[[Session], _T], run_id: str | None = None, *, waits: bool = True) -> _T:
        """Do something over a session, again where what stopped it passes. Raises DeliveryError."""
        for wait_s in (*(WAITS_S if waits else ()), None):
            try:
                if self._session is None:
                    self._session = open_session(self._connection, self._root, self._dialect)
                return act(self._session)
            except RunnerError:
                self.close()
                raise
            except Exception as error:
                self.close()
                if not is_of_a_driver(error):
                    raise
                is_passing = self._dialect.trouble(_original(error)) == "passing"
                if not is_passing or wait_s is None or not self._pause(wait_s):
                    raise self._told(error, run_id, is_passing=is_passing) from None
        raise AssertionError  # the last try has no wait behind it

    def message(self, error: Exception) -> str:
        """What a driver says, in one line and without secrets."""
        return self._connection.scrubbed(" ".join(str(_said(_original(error))).split()))

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _told(self, error: Exception, run_id: str | None, *, is_passing: bool) -> DeliveryError:
        code, message, hint = self._fault(error)
        if is_passing:
            again = f"runner export {run_id}" if run_id else "run it again"
            hint = f"{hint + '; ' if hint else ''}when it answers: {again}, which goes on from there"
        return DeliveryError(f"{self._shown}: {message}", hint=hint, code=code)

    def _fault(self, error: Exception) -> tuple[str, str, str | None]:
        if self._dialect.kind == "duckdb":
            return "database-error", self.message(error), None
        from runner.databases.faults import fault_of  # it imports SQLAlchemy, which DuckDB does not need

        fault = fault_of(error, self._connection)
        return fault.code, fault.message, fault.hint


def _original(error: Exception) -> Exception:
    """SQLAlchemy wraps what a driver raises when it connects."""
    return getattr(error, "orig", None) or error


def _said(error: Exception) -> object:
    """PyMySQL's exceptions are a number and a text."""
    return error.args[-1] if error.args else error
