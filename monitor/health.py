"""Is everything all right? What each part says of itself, put together into sentences for people.

Gateway, worker, keeper and events are asked at their loopback endpoints, the database with a small question,
the log is known to the gateway. `judge` is pure: it makes a `Health` of what was heard.
"""

import asyncio
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import psycopg
import structlog
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests
from typing_extensions import TypedDict

from monitor.gateways import together
from monitor.options import MonitorOptions
from store import live
from store.endurance import Endurance
from store.quarantine import Limits
from store.select import Connection, Row

if TYPE_CHECKING:
    from monitor.live import LivePicture

WATCH_S = 2.0
ANSWER_TIMEOUT_S = 2.0
"""A process on this machine that takes longer to say how it is, is not well."""
MAX_ANSWER = 4 << 20
LAG_WARNING_S = 30.0
"""An operator notices a picture that is older than this."""
LAG_FAILING_S = 180.0
"""Nobody can work at a desk that shows what was minutes ago."""
LOOP_WARNING_S = 1.0
"""An answer is to come within this time."""
QUARANTINE_FULL = 0.9
"""Share of the bytes that quarantine may have from which on one may say that it is full."""
QUARANTINE_GROWS = 10_000
"""Things within an hour or two: no fleet says so much by mistake."""
LOG_WARNING = 0.8
"""Share of the log's quota at which somebody should look."""
LOG_FULL = 0.95
"""A new segment may find no room although the last one left some."""
MAX_WHY = 300  # characters
ABSURD = 1e18
"""No count of bytes or seconds is larger."""

_log = structlog.get_logger("monitor")

State: TypeAlias = Literal["ok", "degraded", "failing", "unknown"]


class ProblemFound(TypedDict):
    """Something that is wrong, in two languages."""

    code: str
    severity: Literal["warning", "error"]
    part: str
    zh: str
    en: str


class Part(TypedDict):
    """One part: its state, and what it says of itself."""

    state: State
    detail: dict[str, Any]


class OptionalParts(TypedDict, total=False):
    """Parts that not every installation has."""

    events: Part
    """Where a broker is told of events."""


class Parts(OptionalParts):
    """All parts."""

    gateway: Part
    worker: Part
    keeper: Part
    database: Part
    log: Part


class Figures(TypedDict):
    """What is counted; null where nobody knows."""

    terminals: int | None
    online: int | None
    silent: int | None
    without_code: int | None
    alarms_on_desk: int | None
    alarms_taken: int | None
    tickets_open: int | None
    strangers: int | None
    strangers_in_alarm: int | None
    strangers_in_emergency: int | None
    quarantined_last_hour: int | None
    quarantine_mib: float | None
    quarantine_only_counted: int | None
    worker_lag_s: float | None


class Health(TypedDict):
    """The state of the whole."""

    state: Literal["ok", "degraded", "failing"]
    at: datetime
    problems: list[ProblemFound]
    parts: Parts
    figures: Figures


SENTENCES: dict[str, tuple[Literal["warning", "error"], str, str, str]] = {
    "gateway_unreachable": (
        "error",
        "gateway",
        "网关没有响应：终端无法上报，终端会自行保存数据，网关恢复后补报。",
        "The gateway does not answer: terminals cannot report; they keep their data and send it later.",
    ),
    "gateway_failing": (
        "error",
        "gateway",
        "网关报告故障：{why}",
        "The gateway says that something is wrong: {why}",
    ),
    "gateway_process_unreachable": (
        "warning",
        "gateway",
        "{count} 个网关进程中有 {missing} 个没有响应：其终端会改连其他进程。",
        "{missing} of {count} gateway processes do not answer: their terminals connect to the others.",
    ),
    "gateway_fleet_stale": (
        "warning",
        "gateway",
        "网关无法更新已知和已封锁终端的名单，仍使用旧名单：{why}",
        "The gateway cannot refresh its list of known and blocked terminals and uses the old one: {why}",
    ),
    "lobby_full": (
        "warning",
        "gateway",
        "待认领终端已达上限：新终端暂被拒绝，已认领终端不受影响。请认领或封锁待认领终端，"
        "或运行 northwatch lobby open 临时放开。",
        "As many terminals wait to be accepted as may: new ones are refused, accepted ones are not. Accept "
        "or block some that wait, or let more come for some hours with `northwatch lobby open`.",
    ),
    "worker_unreachable": (
        "error",
        "worker",
        "处理进程没有响应：已应答的数据安全保存在日志中，但地图、报警和工单停止更新。",
        "The worker does not answer: what was acknowledged is safe in the log, but map, alarms and tickets "
        "stand still.",
    ),
    "worker_failing": (
        "error",
        "worker",
        "处理进程报告故障：{why}",
        "The worker says that something is wrong: {why}",
    ),
    "log_damaged": (
        "error",
        "log",
        "日志有损坏，处理进程停在损坏处；数据照常接收。请在服务器上运行 northwatch log 查看，"
        "再用 northwatch log skip 隔离损坏部分并继续：{why}",
        "The log is damaged and the worker waits before the damage; data is taken in as ever. On the server, "
        "`northwatch log` shows it and `northwatch log skip` keeps the damage apart and goes on: {why}",
    ),
    "log_skipped": (
        "warning",
        "log",
        "日志位置 {position} 的 {bytes} 字节损坏数据已隔离跳过；确认后运行 northwatch log seen。",
        "{bytes} damaged bytes of the log at position {position} were skipped and are kept; "
        "`northwatch log seen` takes note of it.",
    ),
    "worker_behind": (
        "warning",
        "worker",
        "处理滞后 {lag} 秒：画面显示的是过去的状态。",
        "The worker is {lag} s behind: the picture shows the past.",
    ),
    "worker_far_behind": (
        "error",
        "worker",
        "处理滞后 {lag} 秒：画面显示的是几分钟前的状态，值守不可信，请用电话核实。",
        "The worker is {lag} s behind: the picture shows what was minutes ago; do not rely on it.",
    ),
    "gateway_late": (
        "warning",
        "gateway",
        "网关响应迟缓：最近曾有 {delay} 秒无法服务，终端会等待。",
        "The gateway was late: of late it served nobody for {delay} s, and terminals waited.",
    ),
    "quarantine_full": (
        "warning",
        "database",
        "隔离区已达 {mib} MiB 上限的 {percent}%：新数据只计数，原始字节仍在归档中。请查看后删除。",
        "Quarantine has {percent} % of the {mib} MiB that it may have: more is only counted, and is in the "
        "archive. Look at it and delete what is known.",
    ),
    "quarantine_grows": (
        "warning",
        "database",
        "近两小时有 {count} 条数据进入隔离区或只被计数：有终端或来源在大量发送无法读取的数据。",
        "{count} things went into quarantine, or were only counted, within two hours: somebody sends much "
        "that cannot be read.",
    ),
    "keeper_unreachable": (
        "warning",
        "keeper",
        "管家进程没有响应：数据照常接收，但归档、压缩和到期清理已停止。",
        "The keeper does not answer: data is taken in as ever, but archive, compression and retention stand "
        "still.",
    ),
    "keeper_failing": (
        "warning",
        "keeper",
        "管家进程有任务失败：{why}",
        "A chore of the keeper fails: {why}",
    ),
    "archive_set_aside": (
        "warning",
        "keeper",
        "归档块 {chunk} 未能按终端整理，已按收到的原始记录完整封存，数据无缺失。请报告原因：{why}",
        "Chunk {chunk} of the archive could not be sorted by terminal and is kept as received: nothing is "
        "missing. Please report the cause: {why}",
    ),
    "events_unreachable": (
        "warning",
        "events",
        "事件推送进程没有响应：MQTT 消息暂停发送，稍后补发。",
        "The events process does not answer: MQTT messages wait and are sent later.",
    ),
    "events_failing": (
        "warning",
        "events",
        "事件推送中断，消息暂存待补发：{why}",
        "Events are not delivered; they are kept and sent later: {why}",
    ),
    "database_unreachable": (
        "error",
        "database",
        "数据库没有响应：终端数据继续保存在日志中，画面停止更新，操作暂不可用。",
        "The database does not answer: terminals are still served from the log, this picture stands still "
        "and nothing can be changed.",
    ),
    "log_holds": (
        "warning",
        "log",
        "按目前的上报速度，日志还能保存约 {hours} 小时的数据。",
        "At the present rate the log has room for about {hours} h.",
    ),
    "log_full": (
        "error",
        "log",
        "日志已满或磁盘空间不足：网关已停止读取，终端会自行保存数据。请释放磁盘空间或修复数据库。",
        "The log is full or the disk has no room: the gateway stopped reading and terminals keep their data. "
        "Free disk space, or repair the database.",
    ),
    "log_failing": (
        "error",
        "log",
        "日志写入失败：网关停止应答，终端会自行保存数据。请检查磁盘。原因：{why}",
        "The log cannot be written: the gateway answers nothing and terminals keep their data. "
        "Look at the disk. {why}",
    ),
    "log_filling": (
        "warning",
        "log",
        "日志已用 {percent}%：数据库或处理进程跟不上。",
        "The log is {percent} % full: database or worker do not keep up.",
    ),
}

STALLS = {
    "database_unreachable",
    "worker_unreachable",
    "worker_failing",
    "log_damaged",
    "worker_behind",
    "worker_far_behind",
    "keeper_unreachable",
    "keeper_failing",
}
"""While one of these lasts, the log grows and people want to know how long it can."""

Answer: TypeAlias = dict[str, Any] | None
"""What a process says of itself; None when it does not answer."""


class HealthWatch:
    """Asks every two seconds and remembers what was heard. `now` is always there."""

    def __init__(
        self,
        options: MonitorOptions,
        database: Callable[[], AbstractAsyncContextManager[Connection]],
    ) -> None:
        self.picture: LivePicture | None = None
        self.now = judge({}, {}, None, {}, datetime.now(UTC), keeper={}, events={})
        parts = (options.gateway_url, options.worker_url, options.keeper_url, options.events_url)
        self._urls = (*parts, *options.sibling_urls)
        self._database = database
        self._endurance = Endurance()
        self._quarantine_limit = options.quarantine_bytes

    @property
    def database_is_away(self) -> bool:
        """Did the database not answer when it was last asked?"""
        return self.now["parts"]["database"]["state"] == "failing"

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except Exception as error:  # a defect of ours must not blind everybody for good
                _log.error("health could not be judged", exc_info=error)
            await asyncio.sleep(WATCH_S)

    async def look(self) -> None:
        """Ask everybody once."""
        (first, worker, keeper, events, *siblings), database = await asyncio.gather(
            asyncio.gather(*(asyncio.to_thread(ask, url) for url in self._urls)), self._ask_database()
        )
        gateway = together([first, *siblings])
        holds_s = endures_s(self._endurance, _table(gateway or {}, "log"), time.monotonic())
        figures = self.picture.figures() if self.picture and self.picture.is_complete else {}
        self.now = judge(
            gateway,
            worker,
            database,
            figures,
            datetime.now(UTC),
            keeper=keeper,
            events=events,
            holds_s=holds_s,
            quarantine_limit=self._quarantine_limit,
        )

    async def _ask_database(self) -> Row | None:
        try:
            async with asyncio.timeout(2 * ANSWER_TIMEOUT_S), self._database() as connection:
                row = await live.figures(connection)
        except (psycopg.Error, PoolTimeout, PoolClosed, TooManyRequests, OSError, TimeoutError):
            return None
        return row


def endures_s(endurance: Endurance, log: Mapping[str, Any], now_s: float) -> float | None:
    """Note what the gateway says of its log, and give the seconds for which that has room at this rate; until
    it has been watched for long enough, what the gateway itself says.
    """
    written, quota, used, free, floor = (
        _number(log, name, math.nan)
        for name in ("durable", "quota_bytes", "used_bytes", "free_bytes", "free_floor_bytes")
    )
    room = min(quota - used, free - floor)
    if math.isnan(written) or math.isnan(quota - used) or math.isnan(free - floor):
        endurance.forget()
        return None
    endurance.note(written, now_s)
    found = endurance.holds_s(room)
    said = _number(log, "holds_s", -1)
    return said if found is None and said >= 0 else found


def ask(url: str | None) -> Answer:
    """Ask a process at its loopback endpoint how it is. Empty where there is none to ask."""
    if url is None:
        return {}
    try:
        said = json.loads(fetch(f"{url}/healthz"))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def fetch(url: str) -> bytes:
    """Get what a loopback endpoint has, also when it says so with status 503.

    Raises:
        OSError: it does not answer.
    """
    # A proxy of the environment is for the world outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_TIMEOUT_S) as answer:
            return bytes(answer.read(MAX_ANSWER))
    except urllib.error.HTTPError as refused:
        with refused:
            return bytes(refused.read(MAX_ANSWER))


def judge(
    gateway: Answer,
    worker: Answer,
    database: Row | None,
    figures: Row,
    at: datetime,
    *,
    keeper: Answer,
    events: Answer,
    holds_s: float | None = None,
    quarantine_limit: int = Limits().most_bytes,
) -> Health:
    """Make one health of what was heard. An empty answer says that there is nobody to ask."""
    log = _table(gateway or {}, "log")
    if holds_s is not None:
        log = {**log, "holds_s": round(holds_s)}
    lag_s = _lag_s(gateway, worker, database)
    problems = [_problem("database_unreachable")] if database is None else []
    problems += _gateway_problems(gateway, log, database is not None)
    problems += _worker_problems(worker, lag_s, database is not None)
    problems += _keeper_problems(keeper, database is not None)
    problems += _events_problems(events, database is not None)
    problems += _quarantine_problems(database, quarantine_limit)
    state: Literal["ok", "degraded", "failing"] = "ok"
    if problems and holds_s is not None and any(each["code"] in STALLS for each in problems):
        problems.append(_problem("log_holds", hours=f"{holds_s / 3600:.1f}"))
    if problems:
        state = "failing" if any(each["severity"] == "error" for each in problems) else "degraded"
    detail = {} if database is None else {k: database[k] for k in ("version", "size_bytes", "timescaledb")}
    return {
        "state": state,
        "at": at,
        "problems": problems,
        "parts": {
            "gateway": {"state": _state("gateway", gateway, problems), "detail": gateway or {}},
            "worker": {"state": _state("worker", worker, problems), "detail": worker or {}},
            "keeper": {"state": _state("keeper", keeper, problems), "detail": keeper or {}},
            **_events_part(events, problems),
            "database": {"state": _state("database", detail or None, problems), "detail": detail},
            "log": {"state": _state("log", log, problems), "detail": log},
        },
        "figures": {
            "terminals": figures.get("terminals"),
            "online": figures.get("online"),
            "silent": figures.get("silent"),
            "without_code": figures.get("without_code"),
            "alarms_on_desk": figures.get("alarms_on_desk"),
            "alarms_taken": figures.get("alarms_taken"),
            "tickets_open": figures.get("tickets_open"),
            "strangers": figures.get("strangers"),
            "strangers_in_alarm": figures.get("strangers_in_alarm"),
            "strangers_in_emergency": figures.get("strangers_in_emergency"),
            "quarantined_last_hour": database["quarantined_last_hour"] if database else None,
            "quarantine_mib": database["quarantine_bytes"] / (1 << 20) if database else None,
            "quarantine_only_counted": database["quarantine_only_counted"] if database else None,
            "worker_lag_s": lag_s,
        },
    }


def _problem(code: str, **values: Any) -> ProblemFound:
    severity, part, zh, en = SENTENCES[code]
    return {
        "code": code,
        "severity": severity,
        "part": part,
        "zh": zh.format(**values),
        "en": en.format(**values).strip(),
    }


def _gateway_problems(said: Answer, log: dict[str, Any], has_database: bool) -> list[ProblemFound]:
    if said is None:
        return [_problem("gateway_unreachable")]
    found = []
    used = _number(log, "used_bytes", 0) / max(1, _number(log, "quota_bytes", 1))
    has_room = _number(log, "free_bytes", 1) > _number(log, "free_floor_bytes", 0)
    if not said.get("ok", True):
        if log and (log.get("is_full") is True or used >= LOG_FULL or not has_room):
            found.append(_problem("log_full"))
        elif log.get("fault"):
            found.append(_problem("log_failing", why=_short(log["fault"])))
        else:
            found.append(_problem("gateway_failing", why=_short(said.get("fault") or said.get("error"))))
    elif used > LOG_WARNING:
        found.append(_problem("log_filling", percent=round(100 * used)))
    if missing := round(_number(said, "missing", 0)):
        count = round(_number(said, "processes", 0))
        found.append(_problem("gateway_process_unreachable", missing=missing, count=count))
    delay_s = _number(said, "loop_delay_s", 0)
    if delay_s >= LOOP_WARNING_S:
        found.append(_problem("gateway_late", delay=f"{delay_s:.1f}"))
    fleet_fault = _table(said, "fleet").get("fault")
    if fleet_fault and has_database:
        found.append(_problem("gateway_fleet_stale", why=_short(fleet_fault)))
    if _table(said, "lobby").get("is_full") is True:
        found.append(_problem("lobby_full"))
    return found


def _worker_problems(said: Answer, lag_s: float | None, has_database: bool) -> list[ProblemFound]:
    if said is None:
        return [_problem("worker_unreachable")]
    found = []
    if not said.get("ok", True) and has_database:  # without a database it has nothing to say that is new
        code = "log_damaged" if said.get("log_damaged") is True else "worker_failing"
        found.append(_problem(code, why=_short(said.get("error"))))
    for skip in _tables(said, "log_skipped")[-1:]:
        found.append(
            _problem("log_skipped", position=_short(skip.get("position")), bytes=_short(skip.get("bytes")))
        )
    if lag_s is not None and lag_s > LAG_FAILING_S:
        found.append(_problem("worker_far_behind", lag=round(lag_s)))
    elif lag_s is not None and lag_s > LAG_WARNING_S:
        found.append(_problem("worker_behind", lag=round(lag_s)))
    return found


def _keeper_problems(said: Answer, has_database: bool) -> list[ProblemFound]:
    if said is None:
        return [_problem("keeper_unreachable")]
    if not said.get("ok", True) and has_database:
        return [_problem("keeper_failing", why=_short(said.get("error")))]
    aside = _tables(_table(_table(said, "chores"), "archive"), "set_aside")[-1:]
    return [
        _problem("archive_set_aside", chunk=_short(each.get("chunk")), why=_short(each.get("cause")))
        for each in aside
    ]


def _events_problems(said: Answer, has_database: bool) -> list[ProblemFound]:
    if said is None:
        return [_problem("events_unreachable")]
    if not said.get("ok", True) and has_database:
        return [_problem("events_failing", why=_short(said.get("error")))]
    return []


def _quarantine_problems(database: Row | None, limit: int) -> list[ProblemFound]:
    if database is None:
        return []
    found = []
    share = database["quarantine_bytes"] / limit
    if share >= QUARANTINE_FULL:
        found.append(_problem("quarantine_full", percent=round(100 * share), mib=limit >> 20))
    count = database["quarantined_last_hour"] + database["quarantine_only_counted"]
    if count >= QUARANTINE_GROWS:
        found.append(_problem("quarantine_grows", count=count))
    return found


def _events_part(said: Answer, problems: list[ProblemFound]) -> OptionalParts:
    """Give the part of events, nothing where no broker is told of any."""
    if said == {}:
        return {}
    return {"events": {"state": _state("events", said, problems), "detail": said or {}}}


def _table(said: dict[str, Any], name: str) -> dict[str, Any]:
    """Give a table of what a process says, empty where it says something else."""
    table = said.get(name)
    return table if isinstance(table, dict) else {}


def _tables(said: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Give the tables of a list in what a process says."""
    listed = said.get(name)
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _number(said: Mapping[str, Any], name: str, otherwise: float) -> float:
    """Give a number of what a process says."""
    number = said.get(name)
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < ABSURD:
        return otherwise
    return float(number)


def _short(why: object) -> str:
    """One line of what a process says of its trouble."""
    return " ".join(str(why or "?").split())[:MAX_WHY]


def _lag_s(gateway: Answer, worker: Answer, database: Row | None) -> float | None:
    """How old is what the worker reads? Ticks stand in the log every second, as long as the gateway lives."""
    if worker and "lag_s" in worker:
        return _number(worker, "lag_s", 0)
    if not gateway or database is None or database["log_time"] is None:
        return None
    return max(0.0, float((database["now"] - database["log_time"]).total_seconds()))


def _state(part: str, said: Answer, problems: list[ProblemFound]) -> State:
    """Give the lamp of a part: no part is well that says it is not, though the trouble is told of another."""
    severities = {each["severity"] for each in problems if each["part"] == part}
    if "error" in severities:
        return "failing"
    if "warning" in severities or (said and said.get("ok") is False):
        return "degraded"
    return "ok" if said else "unknown"
