"""The observer's states and moves as one table. Nothing here does any work."""

from __future__ import annotations

from enum import StrEnum

from gapless.errors import TransitionRefused


class DataState(StrEnum):
    """Where an observer is."""

    IDLE = "idle"
    PENDING_APPROVAL = "pending_approval"
    RECORDING = "recording"  # approved: episodes may begin and end
    REJECTED = "rejected"
    FAILED = "failed"  # an episode failed; the session may go on with the next one
    INTERRUPTED = "interrupted"  # stopped from outside in the middle of a session


class Move(StrEnum):
    """What can happen to an observer."""

    START = "start_session"
    APPROVE = "approve"
    REFUSE = "refuse"
    BEGIN = "begin_episode"
    FAIL = "fail"
    INTERRUPT = "interrupt"
    STOP = "end_session"


_S, _M = DataState, Move
TABLE: dict[tuple[DataState, Move], DataState] = {
    (_S.IDLE, _M.START): _S.PENDING_APPROVAL,
    (_S.REJECTED, _M.START): _S.PENDING_APPROVAL,
    (_S.INTERRUPTED, _M.START): _S.PENDING_APPROVAL,
    (_S.PENDING_APPROVAL, _M.APPROVE): _S.RECORDING,
    (_S.PENDING_APPROVAL, _M.REFUSE): _S.REJECTED,
    (_S.PENDING_APPROVAL, _M.INTERRUPT): _S.INTERRUPTED,
    (_S.PENDING_APPROVAL, _M.STOP): _S.IDLE,
    (_S.RECORDING, _M.BEGIN): _S.RECORDING,
    (_S.RECORDING, _M.FAIL): _S.FAILED,
    (_S.RECORDING, _M.INTERRUPT): _S.INTERRUPTED,
    (_S.RECORDING, _M.STOP): _S.IDLE,
    (_S.FAILED, _M.BEGIN): _S.RECORDING,
    (_S.FAILED, _M.FAIL): _S.FAILED,
    (_S.FAILED, _M.INTERRUPT): _S.INTERRUPTED,
    (_S.FAILED, _M.STOP): _S.IDLE,
    (_S.REJECTED, _M.STOP): _S.IDLE,
    (_S.INTERRUPTED, _M.STOP): _S.IDLE,
}


def after(state: DataState, move: Move) -> DataState:
    """Return the state that a move leads to, or raise TransitionRefused."""
    try:
        return TABLE[state, move]
    except KeyError:
        moves = [m for s, m in TABLE if s is state]
        raise TransitionRefused(
            f"the observer cannot {move.replace('_', ' ')} now",
            found=f"state {state}",
            expected=" or ".join(f"{m}" for m in moves),
        ) from None
