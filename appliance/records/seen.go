package records

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ClusterFacts are about the same TLS client on many subscribers.
type ClusterFacts struct {
	Time                                      time.Time
	ID                                        string
	What                                      string // began grew ended
	Reason                                    string // of an end: quiet known_good forgotten
	JA4, JA3                                  string
	Looks                                     string // botnet software_update
	Began                                     time.Time
	Subscribers, Sessions, Messages, Networks int
	Bits                                      float64
	Weights                                   string   // of what: rarity=8.6 ...
	Members                                   []string // ids, those that came last if they are too many
	Why                                       string
}

// Cluster is the entry of a cluster that began, grew notably or ended. It is for people; nothing was done because of it.
func Cluster(f ClusterFacts) Entry {
	severity := Notice
	if f.What == "began" && f.Looks == "botnet" {
		severity = Warning
	}
	text := fmt.Sprintf("cluster %s %s", f.ID, f.What)
	if f.What == "ended" {
		text += ", " + f.Reason
	} else {
		text += ": " + f.Why
	}
	return Entry{Kind: KindCluster, Severity: severity, Time: f.Time, Text: text, params: params(nil).
		add("cluster", f.ID).
		add("what", f.What).
		add("reason", f.Reason).
		add("ja4", f.JA4).
		add("ja3", f.JA3).
		add("looks_like", f.Looks).
		time("start", f.Began).
		number("subscribers", int64(f.Subscribers)).
		number("sessions", int64(f.Sessions)).
		number("messages_lo", int64(f.Messages)).
		number("networks", int64(f.Networks)).
		add("bits", strconv.FormatFloat(f.Bits, 'f', 1, 64)).
		add("weights", f.Weights).
		add("members", lastOf(f.Members))}
}

// lastOf is as many of the last names as fit into a parameter, with a space between them.
func lastOf(names []string) string {
	size, from := 0, len(names)
	for from > 0 && size+len(names[from-1])+1 <= maxValue {
		from--
		size += len(names[from]) + 1
	}
	return strings.Join(names[from:], " ")
}

// ShareFacts are about the encrypted share of a week and of the one before.
type ShareFacts struct {
	Time                     time.Time
	Week                     time.Time // when it began
	Before, After            float64   // of 1
	SessionsBefore, Sessions uint64    // known to be encrypted or not
	Errors                   float64
}

// Share is the entry of an encrypted share that shifted from one week to the next.
func Share(f ShareFacts) Entry {
	way := "rose"
	if f.After < f.Before {
		way = "fell"
	}
	percent := func(x float64) string { return strconv.FormatFloat(100*x, 'f', 1, 64) }
	return Entry{Kind: KindShare, Severity: Warning, Time: f.Time,
		Text: fmt.Sprintf("the encrypted share %s from %s %% to %s %% of the sessions within a week", way, percent(f.Before), percent(f.After)),
		params: params(nil).
			time("start", f.Week).
			add("before", percent(f.Before)).
			add("after", percent(f.After)).
			number("sessions_before", int64(f.SessionsBefore)).
			number("sessions", int64(f.Sessions)).
			add("errors", strconv.FormatFloat(f.Errors, 'f', 1, 64))}
}
