"""How far each delivery is, kept in the database that it is delivered to.

Owns   the table `runner_deliveries`, beside the table that is written: one row a delivery, with the number of its last
       part, whose turn it is, and where a table that is to be replaced is being filled.
Knows  sessions and dialects. Nothing of records.

A part is written in one transaction with its number here. The number moves only for the owner who took the row last:
the row is locked by the first statement of the transaction, so whoever takes over waits for a part that is still under
way, and a process that wakes up after that finds another owner, and writes nothing.

A row stays as long as somebody may go on with its run; it is removed with the table it is about. Rows of runs whose
folders are gone can be deleted by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from msgspec import Struct

from runner.encoding import decode, encode
from runner.errors import DeliveryError
from runner.sinks import DeliveryId, Refused
from runner.sinks.sql.names import TableName
from runner.sinks.sql.options import MARKS
from runner.sinks.sql.session import VALUE, Dialect, Session, qualified

FINISHED, OPEN = "finished", "open"

_COLUMNS = "delivery, run_id, target, write_mode, owner, part, state, filling, left_out, updated_at"
_MOMENTS = {"mysql": "DATETIME", "sqlite": "DATETIME"}
"""What CURRENT_TIMESTAMP is; elsewhere a moment with its zone."""
_OTHERS = f"target = {VALUE} AND delivery <> {VALUE} AND filling IS NOT NULL"


class Mark(Struct, frozen=True):
    """Where one delivery is. `filling` is the table that is filled until it replaces the target's rows."""

    part: int
    state: str
    filling: str | None
    left_out: Sequence[Refused] = ()
    """The records that its last part was delivered without."""


class Marks:
    """The marks of one target."""

    def __init__(self, dialect: Dialect, target: TableName) -> None:
        self._dialect = dialect
        self._name = target.beside(MARKS)
        self._table = qualified(dialect, self._name)
        self._target = target.name

    @property
    def create_statement(self) -> str:
        text = "LONGTEXT" if self._dialect.kind == "mysql" else "text"
        moment = _MOMENTS.get(self._dialect.kind, "timestamp with time zone")
        columns = (
            "delivery varchar(64) NOT NULL PRIMARY KEY, run_id varchar(255) NOT NULL, target varchar(255) NOT NULL, "
            "write_mode varchar(16) NOT NULL, owner varchar(255) NOT NULL, part bigint NOT NULL, "
            f"state varchar(16) NOT NULL, filling varchar(255), left_out {text}, updated_at {moment} NOT NULL"
        )
        return f"CREATE TABLE {self._table} ({columns}){self._dialect.table_options}"

    def is_there(self, session: Session) -> bool:
        return self._dialect.find(session, self._name) is not None

    def find(self, session: Session, delivery: DeliveryId) -> Mark | None:
        query = f"SELECT part, state, filling, left_out FROM {self._table} WHERE delivery = {VALUE}"
        found = session.rows(query, (digest(delivery),))
        if not found:
            return None
        ((part, state, filling, left_out),) = found
        return Mark(part, state, filling, [Refused(*each) for each in decode(left_out or "[]")])

    def take(self, session: Session, delivery: DeliveryId, write: str) -> None:
        """Make a delivery this owner's: parts of any other fail from now on."""
        update = f"UPDATE {self._table} SET owner = {VALUE}, updated_at = CURRENT_TIMESTAMP WHERE delivery = {VALUE}"
        session.run(update, (delivery.owner, digest(delivery)))
        if self.find(session, delivery) is None:
            places = ", ".join([VALUE] * 7)
            insert = f"INSERT INTO {self._table} ({_COLUMNS}) VALUES ({places}, NULL, NULL, CURRENT_TIMESTAMP)"
            values = (digest(delivery), delivery.run_id, self._target, write, delivery.owner, 0, OPEN)
            session.run(insert, values)

    def advance(self, session: Session, delivery: DeliveryId, part: int) -> bool:
        """Note a part, before its records are written in the same transaction. False where it is there already.

        Raises DeliveryError where another process has taken over.
        """
        update = (
            f"UPDATE {self._table} "
            f"SET part = {VALUE}, state = {VALUE}, left_out = NULL, updated_at = CURRENT_TIMESTAMP "
            f"WHERE delivery = {VALUE} AND owner = {VALUE} AND part < {VALUE}"
        )
        if session.run(update, (part, OPEN, digest(delivery), delivery.owner, part)):
            return True
        self._require_owner(session, delivery)
        return False

    def leave_out(self, session: Session, delivery: DeliveryId, refused: Sequence[Refused]) -> None:
        """Note without which records the part that was just noted is delivered, so that a process that dies before it
        has told so leaves it to the next one."""
        told = encode([(each.key, each.message) for each in refused]).decode()
        session.run(f"UPDATE {self._table} SET left_out = {VALUE} WHERE delivery = {VALUE}", (told, digest(delivery)))

    def finish(self, session: Session, delivery: DeliveryId) -> None:
        """Note that a delivery is through. Raises DeliveryError where another process has taken over."""
        update = (
            f"UPDATE {self._table} SET state = {VALUE}, updated_at = CURRENT_TIMESTAMP "
            f"WHERE delivery = {VALUE} AND owner = {VALUE}"
        )
        session.run(update, (FINISHED, digest(delivery), delivery.owner))
        self._require_owner(session, delivery)

    def fill(self, session: Session, delivery: DeliveryId, table: str) -> None:
        """Note which table is being filled, from its first part on."""
        update = f"UPDATE {self._table} SET part = 0, state = {VALUE}, filling = {VALUE} WHERE delivery = {VALUE}"
        session.run(update, (OPEN, table, digest(delivery)))

    def filled(self, session: Session, delivery: DeliveryId) -> None:
        """Note that the filled table is gone."""
        session.run(f"UPDATE {self._table} SET filling = NULL WHERE delivery = {VALUE}", (digest(delivery),))

    def others_filling(self, session: Session, delivery: DeliveryId) -> list[str]:
        """Tables that other deliveries to the same target were filling, and never will again."""
        query = f"SELECT filling FROM {self._table} WHERE {_OTHERS}"
        return [name for (name,) in session.rows(query, (self._target, digest(delivery)))]

    def forget_others_filling(self, session: Session, delivery: DeliveryId) -> None:
        others = (self._target, digest(delivery))
        session.run(f"DELETE FROM {self._table} WHERE {_OTHERS} AND state = {VALUE}", (*others, OPEN))
        session.run(f"UPDATE {self._table} SET filling = NULL WHERE {_OTHERS}", others)

    def was_replaced(self, session: Session) -> bool:
        """Whether a delivery of ours has filled the target before: what is in it may be replaced."""
        query = (
            f"SELECT count(*) FROM {self._table} WHERE target = {VALUE} AND write_mode = 'replace' AND state = {VALUE}"
        )
        ((count,),) = session.rows(query, (self._target, FINISHED))
        return bool(count)

    def forget_target(self, session: Session) -> None:
        """The target is not there: nothing that was delivered to it is."""
        session.run(f"DELETE FROM {self._table} WHERE target = {VALUE}", (self._target,))

    def _require_owner(self, session: Session, delivery: DeliveryId) -> None:
        query = f"SELECT owner FROM {self._table} WHERE delivery = {VALUE}"
        found = session.rows(query, (digest(delivery),))
        if not found:
            message = f"{self._name} has lost its row of this delivery"
            hint = f"nothing more was written, so that no record comes twice: runner export {delivery.run_id}"
            raise DeliveryError(message, hint=hint, code="mark-lost")
        if found[0][0] != delivery.owner:
            message = "another process has taken this delivery over"
            hint = f"let it finish; runner show {delivery.run_id} tells how it stands"
            raise DeliveryError(message, hint=hint, code="taken-over")


def digest(delivery: DeliveryId) -> str:
    """What stands for a delivery: of a bounded length, whatever its id is made of."""
    return hashlib.sha256(delivery.id.encode()).hexdigest()[:32]
