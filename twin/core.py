"""The core: batches in, events out; synchronous, without I/O, in event time.

Live, replay and the virtual line feed it alike. What it returns depends on source times only, never
on how the stream was cut into batches.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from twin.advice import Advisor
from twin.alarms import Acknowledged, Alarm, AlarmBook, Priority, Report, Shelved
from twin.batches import BatchPrediction
from twin.comparison import Comparator, Comparison, gauge_columns, make_estimators
from twin.configuration.models import LineConfiguration, Mode
from twin.diagnosis import Diagnosis, Doubt
from twin.editing import EditRefusedError, edited
from twin.fitting import check, conditions
from twin.genealogy import BatchReleased, Milestone
from twin.guard import Guard
from twin.ingest import NANOSECONDS, Ingest
from twin.intervention import Decided, FellSilent, Intervention, ModelUsed, ModeSet, Wrote
from twin.material import MaterialTable
from twin.passage import Passage
from twin.ports import Surrogate, WriteOutcome
from twin.prediction import Prediction, Predictor, input_columns
from twin.promise import Judgement, Promises
from twin.recommendation import Change, Recommendation, State
from twin.samples import Ints, OfflineMeasurement, SampleBatch
from twin.snapshot import Renumbering, Snapshot, SnapshotError
from twin.tracking import MEMORY, Tracked, Tracker
from twin.trust import FAILED_WRITE, ModeChange, Trust

CoreEvent = (
    Prediction
    | BatchPrediction
    | Comparison
    | Recommendation
    | Judgement
    | ModeChange
    | Alarm
    | Milestone
    | BatchReleased
)
STRETCH = 600 * NANOSECONDS
"""Line time that is followed at once, so that memory stays bounded however long a batch is, ns."""
DOUBTFUL = 3
"""Segments in a row that raise a doubt, or take it back."""
MISTAKES = 16
"""Gauges found wrong, per web, that are remembered."""


class Core:
    """Ingest, tracker, predictor, comparator, estimators, advisor and guard of one line.

    Args:
        line: the configuration, checked.
        surrogates: the model of every step.
    """

    def __init__(self, line: LineConfiguration, surrogates: Mapping[str, Surrogate]) -> None:
        self.line = line
        self.tags = line.tag_table()
        index = {name: self.tags.index(name) for name in line.tags}
        self._ingest = Ingest(self.tags, line.clock_tolerance, line.oldest)
        self.estimators = make_estimators(line)
        inputs, gauges = input_columns(line, index), gauge_columns(line, index)
        names = [column.name for column in (*inputs, *gauges)]
        for step, config in line.steps.items():
            names += [
                f"{step}.{name}{k}" for name in surrogates[step].inputs for k in ("", ".told")
            ]
            for output in (*config.outputs, *surrogates[step].outputs):
                name = f"{step}.{output}"
                names += [name, f"{name}.predicted", f"{name}.sigma", f"{name}.measured"]
                names += [f"{name}.alone", f"{name}.read"]
        self.table = MaterialTable(list(dict.fromkeys(names)))
        self.trust = Trust({name: step.mode for name, step in line.steps.items()})
        batch_inputs = {
            step.runs_on: [
                index[line.source_of(name, source).tag or ""] for source in surrogates[name].inputs
            ]
            for name, step in line.steps.items()
            if step.runs_on in line.batches
        }
        held = sorted({index[name] for name in line.controlling()})
        self.tracker = Tracker(line, index, [*inputs, *gauges], batch_inputs, held)
        # one mapping for all, so that a model can be replaced
        surrogates = self.surrogates = dict(surrogates)
        self.predictor = Predictor(line, surrogates, self.table, self.tracker, self.estimators)
        self._comparator = Comparator(
            line, self.table, self.tracker, self.estimators, self.predictor
        )
        self.diagnosis = Diagnosis(
            line, gauges, surrogates, self.table, self.tracker, self.predictor
        )
        self._guard = Guard(line, self.tags, self.trust)
        self._advisor = Advisor(
            line,
            self.tags,
            surrogates,
            self.predictor,
            self.estimators,
            self.tracker,
            self._guard,
        )
        self.alarms = AlarmBook()
        self._promises = Promises(self.table)
        self._waiting: list[tuple[int, int, OfflineMeasurement]] = []
        self._numbers = 0
        self._rows: dict[tuple[str, str], tuple[int, int]] = {}
        self.open: dict[str, Recommendation] = {}
        """Recommendations that are proposed, accepted or being written, by web."""
        self._last_decision = dict.fromkeys(line.webs, -(2**62))
        self._misled: dict[str, list[tuple[int, int]]] = {web: [] for web in line.webs}
        """Since when a gauge was wrong that advice follows, and when that was found, ns, by web."""
        self._pause = {
            web: int(
                NANOSECONDS
                * max((s.advise_every for s in line.steps.values() if s.runs_on == web), default=0)
            )
            for web in line.webs
        }
        self._stale = int(line.stale_after * NANOSECONDS)
        self._laboratory = self._laboratory_targets()
        self.latest = np.full(len(self.tags), np.nan)
        """Last value of every tag, SI; NaN where missing."""
        self.latest_time = np.zeros(len(self.tags), np.int64)
        self.received = 0
        self.rejected: Counter[str] = Counter()
        self.kept = SampleBatch.of([], [], [])
        """The samples of the last call, judged: what the historian keeps."""

    def _laboratory_targets(self) -> dict[int, tuple[str, str, bool]]:
        targets = {}
        for step_name, step in self.line.steps.items():
            for name, output in step.outputs.items():
                if output.laboratory is not None:
                    learns = output.measured_by is None and output.calculated_from is None
                    targets[self.tags.index(output.laboratory)] = (step_name, name, learns)
            for name in step.inputs:
                source = self.line.source_of(step_name, name)
                if source.laboratory is not None:
                    targets[self.tags.index(source.laboratory)] = (step_name, name, False)
        return targets

    def refused(self) -> Counter[str]:
        """Samples that must not be used or came too late, by reason."""
        counted = Counter(self.rejected)
        counted["late"] += sum(self.tracker.late.values())
        return counted

    def feed(self, batch: SampleBatch, now: int | Ints) -> list[CoreEvent]:
        """Take a batch that arrived at `now`, or each row at its own, and say what follows from it.

        Args:
            batch: samples in order of arrival; laboratory values as they came before the first.
            now: line time, ns.
        """
        self.received += len(batch)
        self.kept = batch  # what cannot be judged is kept as it came
        judged = self._ingest.judge(batch, now)
        self.rejected.update(judged.rejected)
        self.kept = judged.kept
        usable = judged.usable
        self._note(usable)
        self.tracker.add(usable, judged.arrived)
        events: list[CoreEvent] = []
        for measurement in batch.offline:
            came = measurement.known or (now if isinstance(now, int) else int(now[-1]))
            objection = self._ingest.objection(measurement, came)
            if objection:
                self.rejected[objection] += 1
                continue
            known = max(came, measurement.sampled)
            heapq.heappush(self._waiting, (known, self._numbers, measurement))
            self._numbers += 1
        while self.tracker.frontier < self.tracker.horizon:
            events += self._advance()
        return events

    def intervene(self, intervention: Intervention) -> list[CoreEvent]:
        """Take what people, machines or the clock did, and say what follows from it.

        Another model is taken with `use_model`: it comes with its surrogate.

        Raises:
            KeyError: no such recommendation waits for it, or there is no such alarm.
            EditRefusedError: the guard refuses the setpoints that a person chose.
            ValueError: an alarm may not be shelved for so long.
        """
        match intervention:
            case Decided(time, identity, accept, by, note, setpoints):
                return self.decide(identity, accept, by, time, note, setpoints)
            case Wrote(time, identity, outcomes):
                return self.wrote(identity, outcomes, time)
            case ModeSet(time, step, mode, by):
                return self.set_mode(step, mode, by, time)
            case FellSilent(time):
                return [*self.expire(time), *self.alarms.tick(time)]
            case Report():
                return [*self.alarms.report(intervention)]
            case Acknowledged(time, alarm, by):
                return [*self.alarms.acknowledge(time, alarm, by)]
            case Shelved(time, alarm, until, by):
                return [*self.alarms.shelve(time, alarm, until, by)]
            case ModelUsed():
                raise TypeError("a model is taken with use_model")

    def use_model(self, step: str, surrogate: Surrogate) -> None:
        """Predict a step with another model from now on; what was corrected stays continuous.

        Raises:
            ValueError: it takes or gives something else than the model before.
        """
        before = self.surrogates[step]
        if (surrogate.inputs, surrogate.outputs) != (before.inputs, before.outputs):
            raise ValueError(
                f"the model {surrogate.version} of {step} takes {', '.join(surrogate.inputs)} and "
                f"gives {', '.join(surrogate.outputs)}, the one in use takes "
                f"{', '.join(before.inputs)} and gives {', '.join(before.outputs)}; a model with "
                "other inputs or outputs needs another configuration"
            )
        self.surrogates[step] = surrogate
        changes = self.predictor.ask_again(step)
        self.predictor.keep(
            {k: v for k, v in changes.items() if k not in self.predictor.wrong_inputs},
            self.tracker.frontier,
        )
        self.diagnosis.ask_again()

    def _note(self, usable: SampleBatch) -> None:
        """Keep the last value of every tag, by source time."""
        if (usable.time[1:] < usable.time[:-1]).any():
            order = np.argsort(usable.time, kind="stable")
            tag, time, value = usable.tag[order], usable.time[order], usable.value[order]
        else:
            tag, time, value = usable.tag, usable.time, usable.value
        newer = time >= self.latest_time[tag]
        if not newer.all():
            tag, time, value = tag[newer], time[newer], value[newer]
        self.latest[tag] = value
        self.latest_time[tag] = time

    def _advance(self) -> list[CoreEvent]:
        """Follow the line up to the horizon, a laboratory value, or as far as memory allows."""
        until = self.tracker.horizon
        if until - self.tracker.frontier > STRETCH:
            oldest = self.tracker.oldest
            start = until if oldest is None else max(oldest, self.tracker.frontier)
            until = min(until, max(start, until - MEMORY) + STRETCH)
        if self._waiting:
            until = min(until, max(self._waiting[0][0], self.tracker.frontier + 1))
        tracked = self.tracker.advance(until)
        events: list[CoreEvent] = [*tracked.milestones]
        for released in tracked.released:
            events.append(released)
            for name, step in self.line.steps.items():
                if step.runs_on == released.batches:
                    events.append(self.predictor.batches.predict(name, released))
        events += self._follow(tracked)
        while self._waiting and self._waiting[0][0] <= until:
            known, _, measurement = heapq.heappop(self._waiting)
            events += self._offline(measurement, max(known, until))
        events += self.expire(until)
        events += self.alarms.tick(until)
        return events

    def _follow(self, tracked: Tracked) -> list[CoreEvent]:
        passages: dict[str, Passage] = {}
        for passage in tracked.passages:
            passages[passage.column.name] = passage
            self.table.open(passage.segments)
            if passage.column.kind == "input":
                self.table.put(passage.column.name, passage.segments, passage.value, passage.time)
        predictions: list[Prediction] = []
        comparisons: list[Comparison] = []
        verdicts = self.diagnosis.follow(passages, tracked.conditions)
        doubts: list[Doubt | Report] = [*verdicts.doubts, *verdicts.reports]
        judgements: list[Judgement] = []
        decisions: list[tuple[int, str]] = []
        for name, step in self.line.steps.items():
            left = None
            if step.runs_on in self.line.webs:
                left = passages.get(self.predictor.last_column[name])
            # what a stretch of samples holds is learned first, then looked up by time: so nothing
            # depends on how long the stretch is
            said = None if left is None else self.predictor.ask(name, left)
            found: list[tuple[str, str, Passage, Ints]] = []
            for output in step.outputs:
                column = f"{name}.{output}.measured"
                read = passages.get(column)
                lesson = verdicts.lessons.get(f"{name}.{output}")
                if lesson is None:
                    continue
                followed = lesson.passage(self.diagnosis.gauges[f"{name}.{output}"].column)
                forgotten = verdicts.forgotten.get(f"{name}.{output}", [])
                self._comparator.learn(name, output, followed, forgotten)
                if forgotten and f"{name}.{output}" in self._advisor.watched(step.runs_on):
                    misled = self._misled[step.runs_on]
                    misled += forgotten
                    del misled[:-MISTAKES]
                for calculated in self._comparator.calculated_on(column):
                    forgotten = verdicts.forgotten.get(".".join(calculated), [])
                    made = self._comparator.calculate(*calculated, followed, forgotten)
                    if made is not None:
                        found.append((*calculated, made, made.segments))
                if read is None:
                    continue
                if np.isfinite(read.value).any():
                    found.append(
                        (
                            name,
                            output,
                            read.where(np.isfinite(read.value)),
                            np.array(lesson.counted, np.int64),
                        )
                    )
                if f"{name}.{output}" in self._advisor.goals(step.runs_on):
                    doubts += self._judge_gauge(name, output, read)
                elif self._rows.pop((name, f"silent {output}"), None):
                    # its target has been taken away since
                    doubts.append(Doubt(int(read.time[0]), name, f"silent {output}", ""))
                if f"{name}.{output}" in self._advisor.watched(step.runs_on):
                    decisions += [(time, step.runs_on) for time in read.time.tolist()]
            if said is not None:
                predictions.append(self.predictor.correct(said))
                doubts += self._judge_domain(predictions[-1])
            for of, output, measured, segments in found:
                comparison, reports = self._comparator.compare(of, output, measured, segments)
                comparisons.append(comparison)
                doubts += reports
                followed = measured.where(np.isin(measured.segments, segments))
                coating = self.predictor.coating(f"{of}.{output}", followed.value, followed.time)
                coated = replace(followed, value=coating)
                judgements += self._promises.read(of, output, coated)
        events: list[CoreEvent] = [*map(self.predictor.honest, predictions), *comparisons]
        events += judgements
        doubts.sort(key=lambda each: each.time)
        for time, web in sorted(decisions):
            while doubts and doubts[0].time <= time:
                events += self._raise(doubts.pop(0))
            events += self.expire(time)
            events += self._decide(web, time)
        for doubt in doubts:
            events += self._raise(doubt)
        return events

    def _raise(self, doubt: Doubt | Report) -> list[CoreEvent]:
        if isinstance(doubt, Report):
            return [*self.alarms.report(doubt)]
        return self._fell(
            self.trust.doubt(doubt.step, doubt.kind, doubt.reason, doubt.time, doubt.bars)
        )

    def _fell(self, changes: list[ModeChange]) -> list[CoreEvent]:
        """Changes of mode, with the alarms that they are."""
        events: list[CoreEvent] = []
        for change in changes:
            wanted = self.trust.wanted(change.step)
            priority: Priority = "high" if wanted == "twin" else "medium"
            fallen, why = change.mode != wanted, (change.reason,)
            report = Report(change.time, "trust", "shadow", change.step, fallen, priority, "", why)
            events += [change, *self.alarms.report(report)]
        return events

    def _decide(self, web: str, time: int) -> list[CoreEvent]:
        standing = self.open.get(web)
        if standing is not None and standing.state != "proposed":
            return []
        if time - self._last_decision[web] < self._pause[web]:
            return []
        advice = self._advisor.advise(web, time, self._misled[web])
        if advice is None:
            return []
        self._last_decision[web] = time
        events: list[CoreEvent] = []
        if standing is not None:
            events.append(standing.become("superseded", note=f"by {advice.id}"))
        self.open[web] = advice
        events.append(advice)
        return events

    def may_write(self, recommendation: Recommendation) -> bool:
        """Whether the modes of all its steps let the twin write it without a person."""
        return all(self.trust.mode(change.step) == "twin" for change in recommendation.changes)

    def objection(self, measurement: OfflineMeasurement, now: int) -> str:
        """Why a laboratory value that comes at `now` (ns) cannot be used; empty if it can."""
        return self._ingest.objection(measurement, now)

    def objections(self, recommendation: Recommendation, now: int) -> list[str]:
        """Why the guard would not let a recommendation be written at `now` (ns), as sentences."""
        if not recommendation.changes:
            return ["nothing would be moved: reject it instead"]
        return self._guard.objections(recommendation, self.latest, self.latest_time, now)

    def decide(
        self,
        identity: str,
        accept: bool,
        by: str,
        now: int,
        note: str = "",
        setpoints: Sequence[tuple[int, float]] = (),
    ) -> list[CoreEvent]:
        """Accept or reject an open recommendation; the guard may still refuse an accepted one.

        Args:
            identity: of the recommendation.
            accept: or reject.
            by: who decides.
            now: line time, ns.
            note: why.
            setpoints: tags and values, SI, that a person changes before accepting.

        Raises:
            KeyError: no such recommendation waits for a decision.
            EditRefusedError: the guard refuses the changed setpoints; it goes on waiting.
        """
        standing = self._standing(identity, "proposed")
        if accept and setpoints:
            standing = edited(self, standing, setpoints)
            note = "; ".join(each for each in (standing.note, note) if each)
            refused = self.objections(standing, now)
            if refused:
                raise EditRefusedError(refused)
        if not accept:
            del self.open[standing.web]
            return [standing.become("rejected", by, note)]
        objections = self.objections(standing, now)
        if objections:
            del self.open[standing.web]
            return [standing.become("expired", by, "; ".join(objections))]
        accepted = standing.become("accepted", by, note)
        self.open[standing.web] = accepted
        self._guard.wrote(accepted.changes, self.latest, now)
        return [accepted]

    def wrote(self, identity: str, outcomes: Sequence[WriteOutcome], now: int) -> list[CoreEvent]:
        """Take what became of the writes of an accepted recommendation.

        Raises:
            KeyError: no such recommendation is being written.
        """
        standing = self._standing(identity, "accepted")
        del self.open[standing.web]
        # the next advice rests on a moment at which the new setpoints are in the stream
        self._last_decision[standing.web] = max(self._last_decision[standing.web], now)
        wrong = [outcome for outcome in outcomes if outcome.status != "applied"]
        if not wrong:
            written = standing.become("written")
            return [written, written.become("verified"), *self._promises.made(standing, now)]
        reason = "; ".join(
            f"{self.tags[outcome.write.tag].name} {outcome.status}: {outcome.reason}"
            for outcome in wrong
        )
        self._guard.took_back(standing.changes, now)
        events: list[CoreEvent] = [standing.become("failed", note=reason)]
        for step in dict.fromkeys(change.step for change in standing.changes):
            events += self._fell(
                self.trust.doubt(step, FAILED_WRITE, f"a write failed: {reason}", now)
            )
        return events

    def open_interlocks(self, change: Change, now: int) -> list[str]:
        """Why a setpoint must not be written at this moment, whatever was decided before."""
        latest, times = self.latest, self.latest_time
        return self._guard.open_interlocks(change.step, change.tag, latest, times, now)

    def set_mode(self, step: str, mode: Mode, by: str, now: int) -> list[CoreEvent]:
        """A person sets what a step may do."""
        return self._fell(self.trust.set_mode(step, mode, by, now))

    def _standing(self, identity: str, state: State) -> Recommendation:
        for recommendation in self.open.values():
            if recommendation.id == identity and recommendation.state == state:
                return recommendation
        raise KeyError(identity)

    def expire(self, now: int) -> list[CoreEvent]:
        """Close the recommendations that nobody decided on in time (ns).

        Event time does it as the line goes on, the clock where the line fell silent.
        """
        events: list[CoreEvent] = []
        for web, standing in list(self.open.items()):
            if standing.state == "proposed" and now - standing.time > self._stale:
                del self.open[web]
                events.append(standing.become("expired", note="nobody decided in time"))
        return events

    def _judge_domain(self, prediction: Prediction) -> list[Doubt]:
        missing = ~np.isfinite(prediction.inputs).all(axis=1)
        doubtful = np.where(missing, 2, np.where(prediction.corrected_in_domain, 0, 1))
        reasons = ("", "inputs outside the model's domain", "an input is missing")
        return self._in_a_row(prediction.step, "extrapolating", prediction.time, doubtful, reasons)

    def _judge_gauge(self, step: str, output: str, read: Passage) -> list[Doubt]:
        silent = np.where(np.isfinite(read.value), 0, 1)
        reasons = ("", f"no reading of {output}")
        return self._in_a_row(step, f"silent {output}", read.time, silent, reasons)

    def _in_a_row(
        self, step: str, kind: str, time: Ints, verdict: Ints, reasons: tuple[str, ...]
    ) -> list[Doubt]:
        """Doubts raised and taken back by verdicts (index of a reason) that last long enough."""
        found = []
        count, last = self._rows.get((step, kind), (0, 0))
        for now, value in zip(time.tolist(), verdict.tolist(), strict=True):
            count = count + 1 if value == last else 1
            last = value
            if count == DOUBTFUL:
                found.append(Doubt(now, step, kind, reasons[value]))
        self._rows[step, kind] = count, last
        return found

    def _offline(self, measurement: OfflineMeasurement, time: int) -> list[CoreEvent]:
        target = self._laboratory.get(measurement.tag)
        if target is None:
            self.rejected["laboratory value of nothing"] += 1
            return []
        step, name, learns = target
        if measurement.batch is not None:
            changes = self.predictor.revise_batch(
                step, name, measurement.batch, measurement.value, time
            )
            kind = self.line.steps[step].runs_on
            learned = {
                output: change
                for output, change in changes.items()
                if output in self._comparator.last and output not in self.predictor.wrong_inputs
            }
            # only a bias that was learned on this batch holds the error of its old value
            last = np.array([self._comparator.last[output] for output in learned], np.int64)
            of = self.tracker.batch_at(kind, last, np.full(len(last), time))
            here = [
                change
                for change, number in zip(learned.items(), of.tolist(), strict=True)
                if number == measurement.batch
            ]
            self.predictor.keep(dict(here), time)
            return []
        segment = None
        if measurement.roll is not None and measurement.metre is not None:
            segment = self.tracker.segment_of(measurement.roll, measurement.metre)
        comparison = None
        if segment is not None:
            comparison = self._comparator.offline(
                step, name, segment, measurement.value, time, learns
            )
        if comparison is None:
            self.rejected["laboratory value of unknown material"] += 1
            return []
        return [comparison]

    def snapshot(self) -> Snapshot:
        """All that it must remember, so that another core goes on where this one is now."""
        return {
            "fits": conditions(self.line, self.surrogates),
            "tags": [tag.name for tag in self.tags],
            "ingest": self._ingest.snapshot(),
            "tracker": self.tracker.snapshot(),
            "table": self.table.snapshot(),
            "estimators": {name: each.snapshot() for name, each in self.estimators.items()},
            "predictor": self.predictor.snapshot(),
            "learned": dict(self._comparator.last),
            "charts": {name: each.snapshot() for name, each in self._comparator.charts.items()},
            "diagnosis": self.diagnosis.snapshot(),
            "alarms": self.alarms.snapshot(),
            "trust": self.trust.snapshot(),
            "guard": self._guard.snapshot(),
            "waiting": [[known, number, asdict(m)] for known, number, m in self._waiting],
            "numbers": self._numbers,
            "rows": [[*of, *row] for of, row in self._rows.items()],
            "open": [recommendation.snapshot() for recommendation in self.open.values()],
            "promises": self._promises.snapshot(),
            "last_decision": dict(self._last_decision),
            "misled": {
                web: [list(each) for each in misled] for web, misled in self._misled.items()
            },
            "latest": self.latest.copy(),
            "latest_time": self.latest_time.copy(),
            "received": self.received,
            "rejected": dict(self.rejected),
        }

    def restore(self, state: Snapshot) -> None:
        """Go on where the core that gave the snapshot was; for a core that has been fed nothing.

        Tags may be numbered otherwise, come and go. Targets, limits, modes, uncertainties, pauses
        may have changed; webs, batches, inputs and outputs must be the same.

        Raises:
            SnapshotError: it does not fit the configuration; this core is of no use then.
        """
        try:
            check(state["fits"], conditions(self.line, self.surrogates))
            self._restore(state)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise SnapshotError(f"the snapshot is incomplete: {error!r}") from error

    def _restore(self, state: Snapshot) -> None:
        renumber = Renumbering(
            state["tags"], {tag.name: index for index, tag in enumerate(self.tags)}
        )
        self._ingest.restore(state["ingest"], renumber)
        self.tracker.restore(state["tracker"], renumber)
        self.table.restore(state["table"])
        for name, estimator in state["estimators"].items():
            if name in self.estimators:
                self.estimators[name].restore(estimator)
        self.predictor.restore(state["predictor"])
        self._comparator.last = dict(state["learned"])
        for name, chart in state["charts"].items():
            if name in self._comparator.charts:
                self._comparator.charts[name].restore(chart)
        self.diagnosis.restore(state["diagnosis"])
        self.alarms.restore(state["alarms"])
        self.trust.restore(state["trust"])
        self._guard.restore(state["guard"], renumber)
        for known, number, values in state["waiting"]:
            measurement = OfflineMeasurement(**values)
            measurement = replace(measurement, tag=renumber(measurement.tag))
            heapq.heappush(self._waiting, (known, number, measurement))
        self._numbers = state["numbers"]
        self._rows = {(step, kind): (count, last) for step, kind, count, last in state["rows"]}
        for values in state["open"]:
            standing = Recommendation.restored(values)
            changes = tuple(replace(c, tag=renumber(c.tag)) for c in standing.changes)
            self.open[standing.web] = replace(standing, changes=changes)
        self._promises.restore(state["promises"])
        self._last_decision |= state["last_decision"]
        self._misled |= {
            web: [(since, found) for since, found in misled]
            for web, misled in state["misled"].items()
        }
        renumber.move(state["latest"], self.latest)
        renumber.move(state["latest_time"], self.latest_time)
        self.received = state["received"]
        self.rejected = Counter(state["rejected"])
