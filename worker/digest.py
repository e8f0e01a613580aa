"""From frames and events to facts. Changes the fleet's arrays; knows no files, no database, no time of day.

The log's ticks are the only clock. Whatever is decided here is decided the same when the log is read again,
however it is cut into batches.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from alerts import bits
from protocol.columns import BadBody, PositionBatch, batch_locations, locations, single_locations
from store import alarms, positions, tickets
from store.binary import stable_order
from store.quality import Quality
from store.quarantine import Quarantined
from tickets import policy, silence
from worker import fixes
from worker.batch import Batch
from worker.decided import Policies
from worker.evidence import evidence
from worker.facts import Facts
from worker.fleet import Fleet
from worker.links import follow_gateways, follow_links, follow_speakers, forget_sessions
from worker.messages import (
    BATCH_LOCATION,
    LOCATION,
    Report,
    Whole,
    assemble,
    follow_editions,
    is_plain,
    quarantined,
    read_others,
    within_allowance,
)
from worker.reports import Reports, joined, read_reports, remember_latest, rows_of, source_of, with_bodies
from worker.runs import Runs, newest
from worker.standing import Unproven, find_apart, follow_claims, keep_apart, lobby_positions

I64: TypeAlias = npt.NDArray[np.int64]
U8: TypeAlias = npt.NDArray[np.uint8]
Flags: TypeAlias = npt.NDArray[np.bool_]

_SECONDS_BITS = 33
_SECONDS = (1 << _SECONDS_BITS) - 1
"""Room for the seconds since 1970 of any time that six BCD bytes can say."""
SAME_TICK_US: Final = 500_000
"""Ticks closer together than this are one: each gateway ticks once a second."""


def digest(batch: Batch, terminal: I64, fleet: Fleet, policies: Policies) -> Facts:
    """Say what the batch means, and move the fleet on.

    The fleet knows every session of the batch and what was decided before it, and `terminal` is the index of
    every frame's (`recognise`). `policies` hold until something else is decided.
    What reports say is judged for the whole batch at once, terminal by terminal; links, silence and tickets
    go from tick to tick. What does not count is set apart first (`worker.standing`).
    """
    facts, policies = Facts(), fleet.decided.over(policies)
    if batch.decided:
        facts.decided = batch.decided, batch.decided_us
    _welcome_back(fleet, terminal, facts)
    apart = find_apart(batch, terminal, fleet)
    claimed = follow_claims(batch, terminal, fleet, facts, apart)
    if apart is None:
        _digest(batch, terminal, fleet, policies, facts, claimed)
        return facts
    keep_apart(batch, terminal, fleet, facts, apart)
    lobby, source = lobby_positions(batch, terminal, fleet, facts, apart.lobby)
    claimed = {int(np.searchsorted(apart.counted, row)): edition for row, edition in claimed.items()}
    unproven = Unproven.of(batch, terminal, apart.unproven)
    _digest(
        batch.take(apart.counted), terminal[apart.counted], fleet, policies, facts, claimed, unproven=unproven
    )
    assert facts.positions is not None
    counted, source_of_counted = len(facts.positions), facts.source
    facts.positions = positions.joined(facts.positions, lobby)
    facts.source = lambda row: source_of_counted(row) if row < counted else source(row - counted)
    return facts


def _welcome_back(fleet: Fleet, terminal: I64, facts: Facts) -> None:
    """Note who is heard again after having been forgotten."""
    is_forgotten = fleet.terminals["forgotten"]
    if not is_forgotten.any():
        return
    returned = np.unique(terminal[is_forgotten[terminal]])
    is_forgotten[returned] = False
    facts.returned = fleet.terminals["id"][returned].tolist()


def gather(batch: Batch, terminal: I64, fleet: Fleet) -> None:
    """Remember the messages of a batch of which everything else is known already."""
    apart = find_apart(batch, terminal, fleet)
    if apart is not None:
        batch, terminal = batch.take(apart.counted), terminal[apart.counted]
    rows, _ = within_allowance(batch, fleet, terminal)
    edition = follow_editions(batch, fleet, terminal, Facts(), rows)
    assemble(batch, fleet, terminal, edition, Facts(), rows)


def _digest(
    batch: Batch,
    terminal: I64,
    fleet: Fleet,
    policies: Policies,
    facts: Facts,
    claimed: Mapping[int, int],
    *,
    unproven: Unproven | None = None,
) -> None:
    """Say what frames mean that count."""
    rows, left = within_allowance(batch, fleet, terminal)
    facts.only_counted.update(left)
    edition = follow_editions(batch, fleet, terminal, facts, rows, claimed)
    assembled = assemble(batch, fleet, terminal, edition, facts, rows)
    answers = read_others(
        batch,
        fleet,
        terminal,
        edition,
        facts,
        assembled,
        rows,
        media_bytes_per_day=policies.media_bytes_per_day,
    )
    order = stable_order(terminal)
    batch, reports = _reports(batch, fleet, terminal, order, facts, (assembled.whole, answers))
    runs = Runs.of(terminal[reports.row])
    late = _lateness(fleet, runs, reports)
    reports = replace(reports, quality=reports.quality | _doubts(fleet, runs.key, reports, late))
    said = _Said(batch, terminal, edition, order, reports, runs, late)
    _judge_alarms(fleet, said, facts)
    _follow_ticks(fleet, said, unproven, policies, facts)
    forget_sessions(batch.events(), fleet)
    facts.positions = rows_of(fleet, batch, reports, runs, late)
    pieces = {each.row: each.pieces for each in assembled.whole}
    facts.source = partial(source_of, batch, facts.positions, reports.row, pieces)


def _reports(
    batch: Batch,
    fleet: Fleet,
    terminal: I64,
    order: I64,
    facts: Facts,
    elsewhere: tuple[list[Whole], list[Report]],
) -> tuple[Batch, Reports]:
    """Read the location reports in the `order` of their terminals, those in pieces and in answers as well,
    and give the batch with the data in which they lie.
    """
    whole, answers = elsewhere
    found = locations(batch.frames, order[is_plain(batch.frames)[order]])
    bad, reports = found.bad, read_reports(batch, found)
    if whole or answers:
        data, start = with_bodies(batch.frames.data, [each.body for each in whole])
        batch = replace(batch, frames=replace(batch.frames, data=data))
        for more in _located(batch, whole, start, answers):
            bad = bad + more.bad
            reports = joined(reports, read_reports(batch, more), terminal)
    _quarantine_bad(batch, fleet, terminal, bad, facts)
    return batch, reports


def _located(
    batch: Batch, whole: list[Whole], start: I64, answers: list[Report]
) -> tuple[PositionBatch, PositionBatch]:
    """Read reports that stand alone, and those of batches. `start` says where the bodies of `whole` lie."""
    frames = batch.frames
    offset = {each.row: each.offset for each in answers}
    places = {each.row: (begin, len(each.body)) for each, begin in zip(whole, start.tolist(), strict=True)}
    kinds = {row: int(frames.msg_id[row]) for row in sorted(places.keys() | offset.keys())}
    alone = [row for row, msg_id in kinds.items() if msg_id == LOCATION or row in offset]
    several = [row for row, msg_id in kinds.items() if msg_id == BATCH_LOCATION]

    def places_of(rows: list[int]) -> tuple[I64, I64, I64]:
        found = []
        for row in rows:
            begin, length = places.get(row) or (int(frames.body_start[row]), int(frames.body_length[row]))
            found.append((row, begin + offset.get(row, 0), length - offset.get(row, 0)))
        columns = np.array(found, np.int64).reshape(-1, 3)
        return columns[:, 0], columns[:, 1], columns[:, 2]

    data = frames.data
    return single_locations(data, *places_of(alone)), batch_locations(data, *places_of(several))


@dataclass(slots=True)
class _Said:
    """What the terminals said in a batch: frames in order of arrival, reports by terminal."""

    batch: Batch
    terminal: I64
    """Of every frame."""
    edition: U8
    """Of every frame."""
    order: I64
    """The frames by terminal."""
    reports: Reports
    runs: Runs
    """The terminal of every report."""
    late: Flags
    """Of every report."""
    remembered: int = 0
    """So many frames are among the last ones that the fleet keeps of each terminal."""

    def within(self, rows: slice) -> tuple[I64, I64]:
        """Give the frames and the live reports of a range of arrival, by terminal."""
        live = ~self.late
        if rows == slice(0, len(self.terminal)):
            return self.order, live.nonzero()[0]
        is_chosen = np.zeros(len(self.terminal), np.bool_)
        is_chosen[rows] = True
        return self.order[is_chosen[self.order]], (live & is_chosen[self.reports.row]).nonzero()[0]

    def remember(self, fleet: Fleet, frames: int) -> None:
        """Let the fleet keep the last of each terminal up to this frame."""
        rows = slice(self.remembered, frames)
        if rows.start == rows.stop:
            return
        order, live = self.within(rows)
        remember_latest(fleet, self.reports, self.runs.key, live)
        fleet.keep_frames(self.batch.frames, order, self.terminal[order], self.batch.received_us)
        self.remembered = frames


def _follow_ticks(
    fleet: Fleet, said: _Said, unproven: Unproven | None, policies: Policies, facts: Facts
) -> None:
    """Follow links and silence from tick to tick, and decide what it means for repair work."""
    for number, part in enumerate(said.batch.parts):
        follow_links(part.events, fleet, facts)
        if part.rows.start < part.rows.stop:
            follow_speakers(said.batch, said.terminal, part, fleet, facts)
            _listen(fleet, said, part.rows)
        if unproven is not None:
            unproven.note(fleet, number)
        if part.tick_us is not None:
            follow_gateways(part.slot, part.tick_us, fleet, facts)
            decided = _judge_tick(fleet, part.tick_us, policies)
            if decided.opened:  # their evidence shows what came last
                said.remember(fleet, part.rows.stop)
            _note_decisions(fleet, decided, facts)
    said.remember(fleet, len(said.terminal))
    fleet.terminals["changed"][said.terminal] = True


def _listen(fleet: Fleet, said: _Said, rows: slice) -> None:
    """Let silence and tickets know what was said between two ticks. Of a terminal's live reports the last
    one counts.
    """
    batch, reports, reporter = said.batch, said.reports, said.runs.key
    _, live = said.within(rows)
    heard = silence.Heard(
        terminal=said.terminal[rows],
        received_us=batch.received_us[rows],
        msg_id=batch.frames.msg_id[rows],
        authenticated=batch.authenticated[rows],
    )
    last = newest(reporter, live)
    frame = reports.row[last]
    live_reports = silence.LiveReports(
        terminal=reporter[last],
        frame=frame - rows.start,
        status_bits=reports.status_bits[last],
        alarm_bits=reports.alarm_bits[last],
        speed_kmh=reports.speed_kmh[last],
        io_state=reports.io_state[last],
        is_2019=batch.frames.is_2019[frame],
    )
    silence.observe(fleet.silence, heard, live_reports)
    policy.credit(fleet.tickets, reporter[live[(reports.moves_forward & reports.has_fix)[live]]])


def _lateness(fleet: Fleet, runs: Runs, reports: Reports) -> Flags:
    """Say which reports are late: stored in the blind zone, or older than one that came before.

    A terminal's clock has whole seconds, so a terminal's run and a time fit one number, and one running
    maximum over all of them is one over each.
    """
    newest_us = fleet.terminals["newest_us"]
    counts = reports.moves_forward & ~reports.is_backfill
    seconds = np.where(counts, reports.reported_us // 1_000_000, 0)
    run = np.arange(len(runs)) << _SECONDS_BITS
    # Before the first report of a terminal in this batch stands what the fleet remembers of it.
    known = np.maximum(newest_us[runs.keys] // 1_000_000, 0)
    reached = runs.spread(run) | seconds
    reached[runs.first] = np.maximum(reached[runs.first], run | known)
    np.maximum.accumulate(reached, out=reached)
    late: Flags = counts & (seconds < runs.before(reached & _SECONDS, known))
    newer = reached[runs.last] & _SECONDS
    moved = newer > known
    newest_us[runs.keys[moved]] = newer[moved] * 1_000_000
    return late | reports.is_backfill


def _doubts(fleet: Fleet, terminal: I64, reports: Reports, late: Flags) -> npt.NDArray[np.int32]:
    """Give the quality bits that follow from the fixes before."""
    return fixes.judge(
        fleet.fixes,
        fixes.Fixes(
            terminal=terminal,
            is_late=late,
            is_usable=reports.has_fix & reports.moves_forward & fixes.are_on_earth(reports.lat, reports.lon),
            at_us=reports.reported_us,
            lat=reports.lat,
            lon=reports.lon,
            speed_kmh=reports.speed_kmh,
        ),
    )


def _judge_alarms(fleet: Fleet, said: _Said, facts: Facts) -> None:
    reports = said.reports
    judgement = bits.judge(
        fleet.alarms,
        bits.Reports(
            terminal=said.runs.key,
            frame=reports.row,
            reported_us=reports.reported_us,
            received_us=reports.received_us,
            alarm_bits=reports.alarm_bits,
            edition=said.edition[reports.row],
            is_late=said.late,
            is_plausible=reports.moves_forward,
            overspeed_place=reports.overspeed_place,
            crossed_place=reports.crossed_place,
            timed_section=reports.timed_section,
        ),
    )
    reports.quality[judgement.unread] |= Quality.ALARMS_UNREAD
    ids = fleet.terminals["id"]
    for change in judgement.changes:
        facts.alarms.append(_alarm_change(change, int(ids[change.terminal]), reports))
    for seen in judgement.seen:
        facts.alarms.append(
            alarms.Seen(
                terminal_id=int(ids[seen.terminal]),
                condition=seen.alarm.name,
                object=seen.object,
                began_us=None if seen.ended_us is None else seen.began_us,
                ended_us=seen.ended_us,
                seen_us=seen.seen_us,
                reports=seen.reports,
            )
        )


def _alarm_change(change: bits.AlarmChange, terminal_id: int, reports: Reports) -> alarms.Change:
    if change.change is bits.Change.ENDED:
        assert change.ended_us is not None
        return alarms.Ended(
            terminal_id=terminal_id,
            condition=change.alarm.name,
            object=change.object,
            began_us=change.began_us if change.is_late else None,
            ended_us=change.ended_us,
            received_us=change.received_us,
        )
    has_fix = bool(reports.has_fix[change.row])
    return alarms.Raised(
        terminal_id=terminal_id,
        condition=change.alarm.name,
        object=change.object,
        edition=change.edition,
        severity=change.alarm.severity,
        ends=change.alarm.ends,
        late=change.is_late,
        on_desk=change.on_desk,
        began_us=change.began_us,
        ended_us=change.ended_us,
        seen_us=change.seen_us,
        received_us=change.received_us,
        lat=float(reports.lat[change.row]) if has_fix else None,
        lon=float(reports.lon[change.row]) if has_fix else None,
        speed_kmh=float(reports.speed_kmh[change.row]),
        since_us=change.since_us,
        again_us=change.again_us,
        gone_us=change.gone_us,
    )


def _judge_tick(fleet: Fleet, tick_us: int, policies: Policies) -> policy.Decisions:
    """Judge silence at a tick, and decide what it means for repair work.

    Several gateways tick at about the same time; one of these ticks is enough.
    """
    if 0 <= tick_us - fleet.silence.tick_us < SAME_TICK_US:
        return policy.Decisions()
    verdict = silence.judge(fleet.silence, tick_us, policies.silence)
    for changed in (verdict.silent, verdict.back, verdict.excused):
        fleet.terminals["changed"][changed] = True
    return policy.decide(fleet.tickets, fleet.silence, verdict, (policies.silence, policies.tickets))


def _note_decisions(fleet: Fleet, decided: policy.Decisions, facts: Facts) -> None:
    ids = fleet.terminals["id"]
    for opened in decided.opened:
        facts.tickets.append(
            tickets.Opened(
                terminal_id=int(ids[opened.terminal]),
                fault=opened.fault,
                reason=policy.sentence(opened.reason),
                evidence=evidence(fleet, opened.terminal, opened.reason),
                at_us=opened.at_us,
            )
        )
    for closed in decided.closed:
        facts.tickets.append(
            tickets.Closed(
                terminal_id=int(ids[closed.terminal]),
                fault=closed.fault,
                proof=policy.sentence(closed.proof),
                detail={"code": closed.proof.code, "params": dict(closed.proof.params)},
                at_us=closed.at_us,
            )
        )
    facts.tickets += [_incident_change(each) for each in decided.incidents]


def _incident_change(incident: policy.IncidentOpened | policy.IncidentClosed) -> tickets.Change:
    said = {
        "code": incident.reason.code,
        "params": dict(incident.reason.params),
        "sentence": policy.sentence(incident.reason),
    }
    if isinstance(incident, policy.IncidentOpened):
        return tickets.IncidentOpened(
            policy.INCIDENT, len(incident.terminals), {"opened": said}, incident.at_us
        )
    return tickets.IncidentClosed(policy.INCIDENT, incident.terminals, {"closed": said}, incident.at_us)


def _quarantine_bad(batch: Batch, fleet: Fleet, terminal: I64, bad: list[BadBody], facts: Facts) -> None:
    """Keep frames that brought something which is no location report, once each."""
    for row, reason in sorted({each.row: each.reason for each in reversed(bad)}.items()):
        terminal_id = int(fleet.terminals["id"][terminal[row]])
        facts.quarantined.append(quarantined(batch, terminal_id, row, reason=reason))
    for each in batch.unusable:
        index = int(fleet.sessions.terminals(np.array([each.session]))[0])
        facts.quarantined.append(
            Quarantined(
                received_us=each.at_us,
                reason=each.reason,
                raw=each.raw,
                log_id=each.log_id,
                position=each.position,
                ordinal=each.ordinal,
                terminal_id=int(fleet.terminals["id"][index]) if index >= 0 else None,
            )
        )
