package appliance

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailweir/mailweir/appliance/spool"
)

// countKept gives the figures of the records that wait for collectors, and of those that the box keeps.
func (a *Appliance) countKept(counter, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	for _, t := range a.syslog.Status() {
		gauge(mSyslogUp, truth(t.Up), t.URL)
		gauge(mSyslogBehind, float64(t.Behind), t.URL)
		counter(mSyslogDropped, float64(t.Dropped), t.URL)
		age := 0.0
		if !t.Oldest.IsZero() {
			age = max(a.now().Sub(t.Oldest).Seconds(), 0)
		}
		gauge(mSyslogAge, age, t.URL)
	}
	sp := a.syslog.spool.Stat()
	gauge(mSpoolBytes, float64(sp.Bytes))
	gauge(mSpoolLimit, float64(sp.Limit))
	gauge(mSpoolRecords, float64(sp.Records))
	gauge(mSpoolOK, truth(sp.Fault == nil))
	gauge(mSpoolUnwritten, float64(sp.Waiting))
	gauge(mSpoolHangs, sp.Hangs.Seconds())
	gauge(mSpoolAside, float64(sp.AsideBytes))
	counter(mSpoolFaults, float64(sp.Faults))
	for why, word := range spool.Whys {
		counter(mSpoolLost, float64(sp.Lost[why]), word)
	}
	jo := a.journal.Status()
	gauge(mJournalOK, truth(a.journal != nil && jo.Err == nil))
	gauge(mJournalBytes, float64(jo.Bytes))
	gauge(mJournalLimit, float64(jo.Limit))
	gauge(mJournalHolds, truth(jo.Unknown == ""))
	gauge(mJournalHeld, float64(jo.Held))
	counter(mJournalFailed, float64(jo.Failed))
	counter(mJournalLost, float64(jo.Lost), "records")
	counter(mJournalLost, float64(jo.Inputs), "inputs")
}

// countNamed gives the figures of whom the configuration names, or what it leads to: targets of notices, lease files, the server of the clock.
func (a *Appliance) countNamed(counter, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	for _, t := range a.notices.Status() {
		gauge(mNoticeUp, truth(t.Up), t.Name)
		gauge(mNoticeWaiting, float64(t.Waiting), t.Name)
		counter(mNoticeSent, float64(t.Delivered), t.Name)
		counter(mNoticeFailed, float64(t.Failed), t.Name)
		counter(mNoticeLost, float64(t.Given), t.Name)
	}
	for _, f := range a.lines.files() {
		gauge(mLeases, float64(f.Leases), f.Path)
		gauge(mLeaseBadLines, float64(f.BadLines), f.Path)
	}
	if c := a.clockHere(); c.Known {
		gauge(mClockSynced, truth(c.Synced), c.Server)
		if c.Server != "" {
			gauge(mClockOffset, time.Duration(c.Offset).Seconds())
		}
	}
}
