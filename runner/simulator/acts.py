"""What can go wrong, and where: the acts of faults and the places at which they strike.

Owns   the names. Which request is struck is decided by `faults`; each act is carried out by the module that does what
       it spoils.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

BATCH_CREATE = "batch_create"
BATCH_UPLOAD = "batch_upload"
BATCH_RETRIEVE = "batch_retrieve"
BATCH_LIST = "batch_list"
BATCH_RESULTS = "batch_results"
BATCH_CANCEL = "batch_cancel"
BATCH_DELETE = "batch_delete"
BATCH = "batch"
BATCH_ROW = "batch_row"
FILE_UPLOAD = "file_upload"
FILE_RETRIEVE = "file_retrieve"
FILE_LIST = "file_list"
FILE_DELETE = "file_delete"
FILE_CONTENT = "file_content"
PLACES = (
    BATCH_CREATE, BATCH_UPLOAD, BATCH_RETRIEVE, BATCH_LIST, BATCH_RESULTS, BATCH_CANCEL, BATCH_DELETE, BATCH, BATCH_ROW,
    FILE_UPLOAD, FILE_RETRIEVE, FILE_LIST, FILE_DELETE, FILE_CONTENT,
)  # fmt: skip
"""The calls of the batch endpoints (a create also before its body has come), an accepted batch as such, and each
request in one; the calls of the Files endpoints."""

MESSAGES = "/v1/messages"


class Act(StrEnum):
    """What a fault does: instead of an answer (nothing is accepted or billed), to the answer, or to its delivery."""

    REFUSE = "refuse"
    RESET = "reset"
    HANG = "hang"
    HTML = "html"

    REFUSAL = "refusal"
    MAX_TOKENS = "max_tokens"
    PAUSE_TURN = "pause_turn"
    UNKNOWN_STOP = "unknown_stop"
    EMPTY = "empty"
    NOT_JSON = "not_json"
    OFF_SCHEMA = "off_schema"
    OFF_TOLD = "off_told"
    # the same as `off_schema` and `max_tokens`, until the model is told so, or has more room
    INVALID = "invalid"
    CUT_OFF = "cut_off"

    SLOW = "slow"
    REPLY_LOST = "reply_lost"
    REPLY_HANGS = "reply_hangs"
    TRUNCATED = "truncated"
    STREAM_ERROR = "stream_error"
    STREAM_ENDS = "stream_ends"
    WRONG_TYPE = "wrong_type"

    # create: the connection is reset before the body is there; it is accepted, and the reply says otherwise
    RESET_UPLOAD = "reset_upload"
    REPLY_ERROR = "reply_error"
    REPLY_HTML = "reply_html"
    REPLY_GARBAGE = "reply_garbage"

    # the batch: not to be seen for `seconds` after create, or its results after its end; never ends, also when canceled
    LATE_RETRIEVE = "late_retrieve"
    LATE_LIST = "late_list"
    LATE_RESULTS = "late_results"
    STUCK = "stuck"
    STUCK_CANCELING = "stuck_canceling"
    BAD_TALLIES = "bad_tallies"
    DECOYS = "decoys"

    PAGER_LOOPS = "pager_loops"

    # a request in a batch
    EXPIRED = "expired"
    CANCELED = "canceled"
    UNKNOWN_RESULT = "unknown_result"

    # results: the transport (`short` looks whole), then what is in them
    RESULTS_CUT = "results_cut"
    RESULTS_CUT_LENGTH = "results_cut_length"
    RESULTS_CUT_LINE = "results_cut_line"
    RESULTS_CUT_LINE_LENGTH = "results_cut_line_length"
    RESULTS_SHORT = "results_short"
    RESULTS_SHORT_LINE = "results_short_line"
    RESULTS_RESET = "results_reset"
    RESULTS_STALL = "results_stall"
    RESULTS_NO_TYPE = "results_no_type"
    RESULTS_DOUBLED = "results_doubled"
    RESULTS_CONFLICT = "results_conflict"
    RESULTS_MISSING = "results_missing"
    RESULTS_UNKNOWN_IDS = "results_unknown_ids"
    RESULTS_BLANK_LINES = "results_blank_lines"
    RESULTS_CRLF = "results_crlf"
    RESULTS_NAN = "results_nan"
    RESULTS_BAD_UTF8 = "results_bad_utf8"
    RESULTS_SURROGATE = "results_surrogate"
    RESULTS_LONG_LINE = "results_long_line"
    RESULTS_NOT_JSON = "results_not_json"
    RESULTS_UNKNOWN_TYPE = "results_unknown_type"

    @property
    def before_acceptance(self) -> bool:
        return self in (Act.REFUSE, Act.RESET, Act.HANG, Act.HTML)

    @property
    def place(self) -> str:
        """Where it is looked for unless a rule says otherwise."""
        return _PLACE_BY_ACT.get(self, BATCH_RESULTS if self.startswith("results_") else MESSAGES)


_PLACE_BY_ACT: Mapping[Act, str] = {
    Act.RESET_UPLOAD: BATCH_UPLOAD,
    Act.REPLY_ERROR: BATCH_CREATE,
    Act.REPLY_HTML: BATCH_CREATE,
    Act.REPLY_GARBAGE: BATCH_CREATE,
    Act.LATE_RETRIEVE: BATCH,
    Act.LATE_LIST: BATCH,
    Act.LATE_RESULTS: BATCH,
    Act.STUCK: BATCH,
    Act.STUCK_CANCELING: BATCH,
    Act.BAD_TALLIES: BATCH,
    Act.DECOYS: BATCH,
    Act.PAGER_LOOPS: BATCH_LIST,
    Act.EXPIRED: BATCH_ROW,
    Act.CANCELED: BATCH_ROW,
    Act.UNKNOWN_RESULT: BATCH_ROW,
}
