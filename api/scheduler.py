"""The scheduler: calls the market loop at the feed's pace, one call at a time, and remembers when a call failed."""

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler

from api.market_loop import MarketLoop

log = structlog.get_logger()


class Scheduler:
    """Runs `loop.tick` every `interval_s` seconds in the background between `start` and `stop`."""

    def __init__(self, loop: MarketLoop, interval_s: float) -> None:
        self._loop = loop
        self._interval_s = interval_s
        self._jobs = BackgroundScheduler(timezone="UTC", job_defaults={"max_instances": 1, "coalesce": True})
        self._jobs.add_listener(self._failed, EVENT_JOB_ERROR)
        self._jobs.add_listener(self._succeeded, EVENT_JOB_EXECUTED)
        self.last_failure: str | None = None

    def start(self) -> None:
        self._jobs.add_job(self._loop.tick, "interval", seconds=self._interval_s, id="market", misfire_grace_time=None)
        self._jobs.start()

    def stop(self) -> None:
        """Returns when the running call is through; no further one begins."""
        self._jobs.shutdown(wait=True)

    def _failed(self, event: JobExecutionEvent) -> None:
        self.last_failure = f"{type(event.exception).__name__}: {event.exception}"
        log.error("the market loop failed and will be called again", exc_info=event.exception)

    def _succeeded(self, _event: JobExecutionEvent) -> None:
        self.last_failure = None
