"""Scheduler: calls the market loop at the feed's pace, one call at a time, and backs off after failures."""

import time
from collections.abc import Callable
from typing import Final

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler

from api.runtime.market_loop import MarketLoop

log = structlog.get_logger()

LONGEST_PAUSE_S: Final = 5.0


class Scheduler:
    """Calls `loop.tick` every `interval_s` seconds in the background between `start` and `stop`.

    A failed call is followed by a back-off that doubles up to five seconds, then `mend`, then the next call.
    """

    def __init__(self, loop: MarketLoop, interval_s: float, mend: Callable[[], None] = lambda: None) -> None:
        self._loop = loop
        self._interval_s = interval_s
        self._mend = mend
        self._jobs = BackgroundScheduler(timezone="UTC", job_defaults={"max_instances": 1, "coalesce": True})
        self._jobs.add_listener(self._failed, EVENT_JOB_ERROR)
        self._jobs.add_listener(self._succeeded, EVENT_JOB_EXECUTED)
        self._not_before = 0.0
        self.last_failure: BaseException | None = None
        self.failures = 0

    def start(self) -> None:
        self._jobs.add_job(self._turn, "interval", seconds=self._interval_s, id="market", misfire_grace_time=None)
        self._jobs.start()

    def stop(self) -> None:
        """Wait for the running call; start no further one."""
        self._jobs.shutdown(wait=True)

    def _turn(self) -> bool:
        """Call the loop unless backing off; return `True` if it was called."""
        if self.last_failure is not None:
            if time.monotonic() < self._not_before:
                return False
            self._mend()
        self._loop.tick()
        return True

    def _failed(self, event: JobExecutionEvent) -> None:
        if type(event.exception) is not type(self.last_failure):
            log.error("the market loop failed; retrying until it succeeds", exc_info=event.exception)
        self.last_failure = event.exception
        self._not_before = time.monotonic() + min(0.1 * 2**self.failures, LONGEST_PAUSE_S)
        self.failures = min(self.failures + 1, 20)

    def _succeeded(self, event: JobExecutionEvent) -> None:
        if event.retval and self.last_failure is not None:
            log.warning("the market loop works again")
            self.last_failure, self.failures = None, 0
