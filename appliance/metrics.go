package appliance

import (
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mailweir/mailweir/appliance/clusters"
	"github.com/mailweir/mailweir/appliance/radius"
	"github.com/mailweir/mailweir/appliance/share"
	"github.com/mailweir/mailweir/governor"
)

// metrics reads every figure from where it is kept, at the moment it is asked.
// No label names a subscriber: their number is not bounded. masked are those for viewers.
type metrics struct {
	a      *Appliance
	masked bool
}

func metricsHandler(m metrics) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// described is every metric that a box may have, by name.
var described = map[string]*prometheus.Desc{}

// labelled are the names of their labels.
var labelled = map[*prometheus.Desc][]string{}

func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("mailweir_"+name, help, labels, nil)
	described["mailweir_"+name], labelled[d] = d, labels
	return d
}

// MetricNames is every metric of ours that a box may have, also those of what is not configured, in order.
func MetricNames() []string { return slices.Sorted(maps.Keys(described)) }

var (
	mInfo           = desc("info", "1, with the version, the mode and how packets reach us.", "version", "mode", "queue_form", "reader")
	mReady          = desc("ready", "1 while packets are judged.")
	mSessionsOpen   = desc("sessions_open", "Sessions that run now.")
	mSessions       = desc("sessions_total", "Sessions that were let through.")
	mDecisions      = desc("decisions_total", "Decisions about new sessions, as decided; in mode observe none is carried out.", "action")
	mActed          = desc("acted_total", "Decisions that were carried out; 0 in mode observe.")
	mWouldHave      = desc("would_have_acted_total", "Decisions that mode observe turned into a pass.")
	mStage          = desc("subscribers", "Subscribers by stage.", "stage")
	mHandshakes     = desc("tls_handshakes_total", "ClientHellos seen.")
	mMessages       = desc("messages_total", "Messages accepted by servers, counted in clear.")
	mEstimated      = desc("messages_estimated_total", "Messages inside TLS, as many as there were at least.")
	mQueuePackets   = desc("queue_packets_total", "Packets taken from the kernel's queue.", "queue")
	mQueueDepth     = desc("queue_depth", "Packets in the kernel's queue, held ones included.", "queue")
	mQueueDropped   = desc("queue_kernel_dropped_total", "Packets the kernel dropped since the queue was bound.", "queue", "why")
	mVerdicts       = desc("verdicts_total", "Verdicts given, by kind; those with a state changed the flow's mark.", "queue", "verdict")
	mPassed         = desc("passed_unjudged_total", "Packets that passed without judgement, by reason.", "queue", "reason")
	mDropped        = desc("dropped_total", "Packets that we dropped, by reason.", "queue", "reason")
	mHeldNow        = desc("held_packets", "Packets held on purpose now.")
	mHeld           = desc("held_packets_total", "Packets that were held on purpose.", "queue")
	mFlows          = desc("flows", "Flows followed now.")
	mMidAir         = desc("flows_mid_air_total", "Flows whose start was not seen.", "queue")
	mFlowsEnded     = desc("flows_ended_total", "Flows that ended, by how.", "queue", "reason")
	mPanics         = desc("panics_total", "Panics on a packet that were caught; the packet passed.", "queue")
	mKernel         = desc("kernel_rule_packets_total", "Packets that matched a rule of ours since the ruleset was written.", "rule")
	mResponder      = desc("responder_total", "Deferred sessions at the responder, by what they heard.", "answer")
	mCutFailures    = desc("cut_failures_total", "Cuts that are not in the kernel's set, by reason; user space goes on answering them.", "reason")
	mRecords        = desc("records_total", "Number of the last record.")
	mRecordsLost    = desc("records_lost_total", "Records lost before they had a number, because too much happened at once.")
	mRecordsWaiting = desc("records_waiting", "Events that wait to become records.")
	mSyslogUp       = desc("syslog_up", "1 while the collector is reached.", "url")
	mSyslogBehind   = desc("syslog_waiting_records", "Records that wait for the collector.", "url")
	mSyslogDropped  = desc("syslog_dropped_records_total", "Records the collector will never get.", "url")
	mSyslogAge      = desc("syslog_oldest_waiting_age_seconds", "Age of the oldest record that the collector has not got, 0 while it has all.", "url")
	mSpoolBytes     = desc("spool_bytes", "What the spool takes of the disk.")
	mSpoolLimit     = desc("spool_limit_bytes", "What it may take: syslog.spool_bytes.")
	mSpoolRecords   = desc("spool_records", "Records in it.")
	mSpoolOK        = desc("spool_ok", "1 while the disk takes records; otherwise they wait in memory.")
	mSpoolUnwritten = desc("spool_unwritten_records", "Records in memory of which the disk has not said that it has them.")
	mSpoolHangs     = desc("spool_disk_hangs_seconds", "For how long the disk has not answered; 0 while it does.")
	mSpoolAside     = desc("spool_unreadable_bytes", "Of these, files that could not be read at a start and were set aside.")
	mSpoolFaults    = desc("spool_faults_total", "How often the disk began to take nothing.")
	mSpoolLost      = desc("spool_lost_records_total", "Records that went before every collector had them, by why.", "reason")
	mJournalBytes   = desc("journal_bytes", "What the journal takes of the disk.")
	mJournalLimit   = desc("journal_limit_bytes", "What it may take: journal.bytes.")
	mJournalOK      = desc("journal_ok", "1 while there is a journal that can be written.")
	mJournalFailed  = desc("journal_failures_total", "How often writing the journal failed.")
	mJournalLost    = desc("journal_lost_total", "What the journal never got, by what: records, or inputs of the governor.", "what")
	mJournalHolds   = desc("journal_holds_known", "1 while it is known which cases are held; otherwise nothing of any case is deleted.")
	mJournalHeld    = desc("journal_held_records", "Records that are kept beyond their time, since their case is held.")
	mNoticeUp       = desc("notices_up", "1 while the target of notices takes them.", "target")
	mNoticeWaiting  = desc("notices_waiting", "Notices that wait for the target.", "target")
	mNoticeSent     = desc("notices_delivered_total", "Notices that the target took.", "target")
	mNoticeFailed   = desc("notices_failed_attempts_total", "Attempts to deliver a notice that failed.", "target")
	mNoticeLost     = desc("notices_lost_total", "Notices the target will never get: refused again and again, or made room for newer ones.", "target")
	mNoticeDigested = desc("notices_digested_total", "Notices that are told in a digest, since they were too many to be told one by one.")
	mUncounted      = desc("governor_uncounted_total", "What the governor could not count as it should, by reason.", "reason")
	mForgotten      = desc("decisions_forgotten_total", "Decisions that made room for newer ones, so that Explain does not have them.")
	mCaseChanges    = desc("case_changes_lost_total", "Changes of stage that are in no case, since there were too many open cases.")
	mRADIUS         = desc("radius_requests_total", "RADIUS accounting requests, by what became of them.", "result")
	mBindings       = desc("bindings", "Addresses and prefixes bound by RADIUS, leases and the API now.")
	mBindingUnknown = desc("bindings_unknown", "Of them, those of nobody's line.")
	mBindingRefused = desc("bindings_refused_total", "Bindings that were not believed, by reason.", "reason")
	mBindingEnded   = desc("bindings_ended", "Ended bindings that are kept: of all who held an address then, and of RADIUS sessions that ended within a day also beyond these.", "kept")
	mBindingLost    = desc("bindings_ended_lost_total", "Ended bindings that made room before their time, by what for.", "kept")
	mBindingSilent  = desc("bindings_silent_total", "Bindings of RADIUS that ended, or gave way to a lease, because nothing was heard of them for long.")
	mLeases         = desc("leases", "Leases in a lease file.", "path")
	mLeaseBadLines  = desc("lease_bad_lines", "Lines of a lease file that are not understood.", "path")
	mRetries        = desc("retries_total", "Denied attempts that were a mail server's retries and added no pressure.")
	mExempt         = desc("exempt", "Subscribers that are exempt now.")
	mLaneOn         = desc("fast_lane", "1 while the fast lane is in use, with what it is attached by; status says why it is not.", "how")
	mLaneSessions   = desc("fast_lane_sessions_total", "Sessions that began unasked.")
	mLaneWaited     = desc("fast_lane_waited_total", "Sessions that took the way of the queue, by reason.", "reason")
	mLaneMoved      = desc("fast_lane_handed_over_total", "Running sessions that were handed over to the queue.")
	mLaneLate       = desc("fast_lane_late_total", "Sessions that began unasked in the moment in which they no longer might.")
	mLaneHolders    = desc("fast_lane_subscribers", "Subscribers that may begin sessions unasked now.")
	mLaneAllowed    = desc("fast_lane_allowed_sessions", "Sessions that may begin unasked now.")
	mLaneNext       = desc("fast_lane_next_session", "Subscribers that did something lately, by what their next session meets: lease is no wait, all others are.", "reason")
	mLanePackets    = desc("fast_lane_packets_total", "Packets that did not wait.")
	mLaneCopies     = desc("fast_lane_copies_total", "Packets that were copied to us.")
	mLaneCopyBytes  = desc("fast_lane_copied_bytes_total", "Bytes of them.")
	mLaneLost       = desc("fast_lane_copies_lost_total", "Copies for which there was no room.")
	mLaneShortCut   = desc("fast_lane_short_cut", "1 while packets of the fast lane may go past netfilter; status says why not.")
	mLaneShortcuts  = desc("fast_lane_short_cut_packets_total", "Packets of the fast lane that went past netfilter.")
	mLaneStack      = desc("fast_lane_stack_packets_total", "Packets of the fast lane that the kernel forwarded as it does all others, by reason.", "reason")
	mLaneDropped    = desc("fast_lane_dropped_total", "SYNs dropped on arrival, by reason.", "reason")
	mLaneUnjudged   = desc("fast_lane_passed_unjudged_total", "SYNs that passed unjudged, by reason.", "reason")
	mTLSCopied      = desc("tls_copied_flows", "Sessions inside TLS, in the queue lane, of which what the server says passes with a copy to us.")
	mTLSCopies      = desc("tls_copies_total", "Packets that were copied so, by what became of the copy.", "copy")
	mTLSRemarked    = desc("tls_copied_flows_ended_total", "Such sessions that went back to the queue or were cut, by whether conntrack took it.", "result")
	mBridge         = desc("bridge", "1 while the bridge is as it has to be, with its name; only with network.topology: bridge.", "name")
	mUnanswered     = desc("bridge_unanswered_total", "Deferred sessions that were reset, since no way back to the client was known.")
	mTagged         = desc("tagged_packets_total", "Packets of mail with VLAN tags or in PPPoE on a bridge, by what became of them.", "result")
	mReplaced       = desc("readers_replaced_total", "Readers of queues that hung and were replaced.")
	mClusters       = desc("clusters", "Clusters that go on, by what they look like.", "looks_like")
	mPrints         = desc("tls_prints", "Different TLS clients (JA4) that are known.")
	mPrintsGone     = desc("tls_prints_forgotten_total", "Those of several subscribers that made room for others.")
	mShare          = desc("sessions_ended_total", "Sessions that ended since the start, by how they were encrypted.", "tls")
	mShareBytes     = desc("sessions_ended_bytes_total", "Bytes of them, both ways.", "tls")
	mSightingsLost  = desc("sightings_lost_total", "Sessions that are in no cluster, destination or encrypted share, since too many ended at once.")
	mClockSynced    = desc("clock_synchronised", "1 while somebody keeps the clock right; server: who, where the box itself asks.", "server")
	mClockOffset    = desc("clock_offset_seconds", "How far the clock was off when the box last asked a server; only in the image.")
	mStoreOK        = desc("store_ok", "1 while everything that is to be saved can be.")
	mStoreWritten   = desc("store_written_bytes_total", "Bytes the store wrote since the start.")
)

// Describe names all, so that the registry refuses two of one name and a scrape one that is not among them.
func (m metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range described {
		ch <- d
	}
}

// Collect is called at each scrape.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	show := func(_ *prometheus.Desc, labels []string) []string { return labels }
	if m.masked {
		show = labelMask{}.of
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, show(d, labels)...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, show(d, labels)...)
	}
	a, cfg := m.a, m.a.cfg.Load()
	gauge(mInfo, 1, a.opt.Version, cfg.Mode, string(a.kernel.QueueForm), cfg.Queue.Reader)
	gauge(mReady, truth(a.ready.Load()))

	j := a.judge
	gauge(mSessionsOpen, float64(j.open.Load()))
	counter(mSessions, float64(j.total.Load()))
	counter(mDecisions, float64(j.passed.Load()), "pass")
	counter(mDecisions, float64(j.paced.Load()), "pace")
	counter(mDecisions, float64(j.deferred.Load()), "defer")
	counter(mDecisions, float64(j.cut.Load()), "cut")
	counter(mActed, float64(j.acted.Load()))
	counter(mWouldHave, float64(j.wouldHave.Load()))
	counter(mHandshakes, float64(j.handshakes.Load()))
	counter(mMessages, float64(j.messages.Load()))
	counter(mEstimated, float64(j.estimated.Load()))
	stages := a.gov.Stages()
	for s := governor.StageObserve; s <= governor.StageCut; s++ {
		gauge(mStage, float64(stages[s]), s.String())
	}

	q := a.queues.Stats()
	gauge(mHeldNow, float64(q.Held))
	gauge(mFlows, float64(q.Flows))
	for _, one := range q.Queues {
		n := strconv.Itoa(int(one.Number))
		counter(mQueuePackets, float64(one.Packets), n)
		gauge(mQueueDepth, float64(one.Kernel.Depth), n)
		counter(mQueueDropped, float64(one.Kernel.QueueDropped), n, "queue_full")
		counter(mQueueDropped, float64(one.Kernel.UserDropped), n, "socket_full")
		each(one.Verdicts, func(k string, v uint64) { counter(mVerdicts, float64(v), n, k) })
		each(one.Passed, func(k string, v uint64) { counter(mPassed, float64(v), n, k) })
		each(one.Dropped, func(k string, v uint64) { counter(mDropped, float64(v), n, k) })
		each(one.Ended, func(k string, v uint64) { counter(mFlowsEnded, float64(v), n, k) })
		counter(mHeld, float64(one.Held), n)
		counter(mMidAir, float64(one.MidAir), n)
		counter(mPanics, float64(one.Panics), n)
	}
	counter(mReplaced, float64(q.Replaced))
	how, _ := a.lane.status()
	gauge(mLaneOn, truth(how != ""), how)
	next := a.census.take(a.censusMaker()).next
	for _, reason := range laneReasons {
		gauge(mLaneNext, float64(next[reason]), reason)
	}
	if b := a.bridgeView(q); b != nil {
		gauge(mBridge, truth(b.Name != "" && b.Why == ""), b.Name)
		counter(mUnanswered, float64(b.Unanswered))
		t := b.Tagged
		for result, n := range map[string]int64{"taken_off": t.Taken, "put_on": t.Returned, "own": t.Own, "odd": t.Odd, "dropped": t.Dropped} {
			counter(mTagged, float64(n), result)
		}
	}
	if c := q.Copies; c != nil {
		gauge(mTLSCopied, float64(c.Flows))
		counter(mTLSCopies, float64(c.Copies-c.Stray), "read")
		counter(mTLSCopies, float64(c.Stray), "stray")
		counter(mTLSCopies, float64(c.Lost), "lost")
		counter(mTLSCopies, float64(c.Unparsed), "not_understood")
		counter(mTLSRemarked, float64(c.Remarked), "done")
		counter(mTLSRemarked, float64(c.Unmarked), "refused")
	}
	if l := q.Lane; l != nil {
		counter(mLaneSessions, float64(l.SYNFast))
		each(laneWaited(l), func(k string, v uint64) { counter(mLaneWaited, float64(v), k) })
		counter(mLaneMoved, float64(l.Moved))
		counter(mLaneLate, float64(l.Late))
		gauge(mLaneHolders, float64(l.Holders))
		gauge(mLaneAllowed, float64(l.Sessions))
		counter(mLanePackets, float64(l.Fast))
		counter(mLaneCopies, float64(l.Copies))
		counter(mLaneCopyBytes, float64(l.CopiedBytes))
		counter(mLaneLost, float64(l.Lost))
		open, _ := a.lane.shortCut()
		gauge(mLaneShortCut, truth(open))
		counter(mLaneShortcuts, float64(l.ShortCut))
		each(laneStack(l), func(k string, v uint64) { counter(mLaneStack, float64(v), k) })
		each(laneDropped(l), func(k string, v uint64) { counter(mLaneDropped, float64(v), k) })
		counter(mLaneUnjudged, float64(l.FloodPassed), "flood")
		counter(mLaneUnjudged, float64(l.TotalPassed), "total")
		counter(mPanics, float64(l.Panics), "lane")
	}
	if rs := a.rules.Load(); rs != nil {
		if c, err := rs.Counters(); err == nil {
			counter(mKernel, float64(c.CutReset.Packets), "cut_reset")
			counter(mKernel, float64(c.PureACK.Packets), "pure_ack")
			counter(mKernel, float64(c.Released.Packets), "released")
			counter(mKernel, float64(c.QueuedUp.Packets), "queued_up")
			counter(mKernel, float64(c.QueuedDown.Packets), "queued_down")
			counter(mKernel, float64(c.Deferred.Packets), "deferred")
			counter(mKernel, float64(c.Invalid.Packets), "invalid")
			counter(mKernel, float64(c.ResponderDropped.Packets), "responder_drop")
			counter(mKernel, float64(c.Copied.Packets), "copied")
		}
	}
	if heard, on := a.lines.heard(); on {
		counter(mRADIUS, float64(heard.Handled), "taken")
		counter(mRADIUS, float64(heard.NotForUs), "not_wanted")
		counter(mRADIUS, float64(heard.Failed), "failed")
		counter(mRADIUS, float64(heard.Repeated), "repeated")
		counter(mRADIUS, float64(heard.Lost), "lost")
		for why, n := range heard.Ignored {
			if reason := radius.Reason(why); reason != 0 {
				counter(mRADIUS, float64(n), reason.String())
			}
		}
	}
	known := a.who.Stats()
	gauge(mBindings, float64(known.Bindings))
	gauge(mBindingUnknown, float64(known.Unknown))
	counter(mBindingRefused, float64(known.Stale), "stale")
	counter(mBindingRefused, float64(known.Ended), "ended")
	counter(mBindingRefused, float64(known.Full), "full")
	counter(mBindingRefused, float64(known.Invalid), "invalid")
	counter(mBindingSilent, float64(known.Silent))
	gauge(mBindingEnded, float64(known.History), "history")
	gauge(mBindingEnded, float64(known.Gone), "repetitions")
	counter(mBindingLost, float64(known.Lost), "history")
	counter(mBindingLost, float64(known.Forgot), "repetitions")
	r := a.answers.Stats()
	counter(mResponder, float64(r.Answered-r.General), "own")
	counter(mResponder, float64(r.General), "general")
	counter(mResponder, float64(r.Refused), "none")
	counter(mCutFailures, float64(a.cutter.failed.Load()), "kernel")
	counter(mCutFailures, float64(a.cutter.skipped.Load()), "busy")
	counter(mCutFailures, float64(a.cutter.shared.Load()), "shared_prefix")

	counter(mRecords, float64(a.chain.Seq()))
	counter(mRecordsLost, float64(a.writer.Lost()))
	gauge(mRecordsWaiting, float64(a.writer.Waiting()))
	a.countKept(counter, gauge)
	a.countNamed(counter, gauge)
	counter(mNoticeDigested, float64(a.notices.Digested()))
	g := a.gov.Stats()
	counter(mUncounted, float64(g.Untracked-g.Strangers), "table_full")
	counter(mUncounted, float64(g.Strangers), "too_many_strangers")
	counter(mForgotten, float64(g.DecisionsCut))
	counter(mRetries, float64(g.Retries))
	gauge(mExempt, float64(g.Exempt))
	counter(mUncounted, float64(g.UnknownPlan), "unknown_plan")
	counter(mUncounted, float64(g.StrayCloses), "stray_close")
	counter(mUncounted, float64(g.ClockBack), "clock_back")
	counter(mCaseChanges, float64(a.cases.missed()))
	seen := a.observer.prints.Stats()
	gauge(mClusters, float64(seen.Botnets), string(clusters.Botnet))
	gauge(mClusters, float64(seen.Updates), string(clusters.Update))
	gauge(mPrints, float64(seen.Prints))
	counter(mPrintsGone, float64(seen.Forgotten))
	all := a.observer.series.Sum()
	for k, word := range share.Words {
		counter(mShare, float64(all.Sessions[k]), word)
		counter(mShareBytes, float64(all.Bytes[k]), word)
	}
	counter(mSightingsLost, float64(a.observer.seen.missed()+a.observer.series.Lost()))
	ok, _ := a.saved()
	gauge(mStoreOK, truth(ok))
	counter(mStoreWritten, float64(a.store.WrittenBytes())+float64(a.observer.series.Written()))
}

func each(m map[string]uint64, f func(string, uint64)) {
	for k, v := range m {
		f(k, v)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
