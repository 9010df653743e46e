// Package notices tells people what happened: stage changes, clusters and the box's own health, by webhook and by e-mail.
//
// A Notice is made of a record, so that it says the same. What is to be told goes through a limit for each type, beyond which
// notices become one digest, then to disk, and from there to each target by itself, until the target took it. Nothing of it is
// on the packet path: records are taken from the goroutine that writes them, and the rest is a task of its own.
package notices

import (
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// The types of notices, as the Standard Webhooks specification names events: full stops divide what from what happened.
const (
	StageChanged = "stage.changed"
	ClusterSeen  = "cluster.seen"
	HealthBegan  = "health.changed"
	Digest       = "digest" // of more than may be told one by one
	Test         = "test"
)

// Subjects are the words by which a target says what it wants to hear, and the type of each.
var Subjects = map[string]string{"stages": StageChanged, "clusters": ClusterSeen, "health": HealthBegan}

// Notice is one thing to tell. It is what a webhook's body has under data, and what the templates see.
type Notice struct {
	ID       string    `json:"id"`   // the record's event, or one of its own: the same for every attempt to deliver it
	Type     string    `json:"type"` // one of the constants above
	Time     time.Time `json:"time"` // when it happened, UTC, milliseconds
	Box      string    `json:"box"`
	Mode     string    `json:"mode"` // observe: nothing was done
	Severity string    `json:"severity"`
	Text     string    `json:"text"` // one line for people
	Seq      uint64    `json:"seq,omitempty"`

	Subscriber string `json:"subscriber,omitempty"`
	Name       string `json:"name,omitempty"` // of the subscriber, as the list has it
	Plan       string `json:"plan,omitempty"`
	From       string `json:"from,omitempty"` // stages
	To         string `json:"to,omitempty"`
	Reason     string `json:"reason,omitempty"`
	Until      string `json:"until,omitempty"` // RFC 3339; when it ends if it stops now
	Case       string `json:"case,omitempty"`

	What   string `json:"what,omitempty"` // of health, and of clusters: began, grew, ended
	Target string `json:"target,omitempty"`
	Detail string `json:"detail,omitempty"`
	Count  string `json:"count,omitempty"`
	Over   bool   `json:"over,omitempty"` // a trouble that ended

	Cluster     string `json:"cluster,omitempty"`
	JA4         string `json:"ja4,omitempty"`
	LooksLike   string `json:"looks_like,omitempty"`
	Subscribers string `json:"subscribers,omitempty"` // how many

	More  int      `json:"more,omitempty"`  // of a digest: how many notices it stands for
	Of    string   `json:"of,omitempty"`    // and of which type
	Lines []string `json:"lines,omitempty"` // the texts of the first of them

	// Customer is a text in plain words that the operator may pass on to the subscriber; empty where there is nothing to say to one.
	Customer string `json:"customer_text,omitempty"`
}

// severityWords are those of RFC 5424 section 6.2.1 that records use.
var severityWords = map[records.Severity]string{records.Error: "error", records.Warning: "warning", records.Notice: "notice", records.Info: "info"}

// ownTroubles are HEALTH records about notices themselves. No notice is made of them: it would lead to the next.
var ownTroubles = map[string]bool{"notices": true, "notices_lost": true}

// from makes a notice of a record; false when nobody is to be told of such a one. stages are those whose beginning is told.
func from(r *records.Record, stages map[string]bool) (Notice, bool) {
	n := Notice{Time: r.Time, Box: r.Box, Severity: severityWords[r.Severity], Text: r.Text, Seq: r.Seq}
	switch r.Kind {
	case records.KindStage:
		n.Type = StageChanged
		n.From, n.To = r.Value("from"), r.Value("to")
		if !stages[n.To] && !(stages[n.From] && n.To == "observe") {
			return n, false
		}
		n.Subscriber, n.Plan, n.Reason, n.Until, n.Case = r.Value("subscriber"), r.Value("plan"), r.Value("reason"), r.Value("until"), r.Value("case")
	case records.KindCluster:
		n.Type = ClusterSeen
		n.What, n.Cluster, n.JA4, n.LooksLike, n.Subscribers, n.Reason = r.Value("what"), r.Value("cluster"), r.Value("ja4"), r.Value("looks_like"), r.Value("subscribers"), r.Value("reason")
	case records.KindHealth:
		n.Type = HealthBegan
		n.What = r.Value("what")
		if ownTroubles[n.What] {
			return n, false
		}
		n.Target, n.Detail, n.Count, n.Subscriber, n.Over = r.Value("target"), r.Value("detail"), r.Value("count"), r.Value("subscriber"), r.Severity == records.Notice
	default:
		return n, false
	}
	n.ID, n.Mode = r.Value("event"), r.Value("mode")
	return n, true
}

// digestLines is how many of the notices that a digest stands for it tells one by one.
const digestLines = 20

// digest is what a limit held back, of one type.
type digest struct {
	N     int       `json:"n"`
	Lines []string  `json:"lines"`
	First time.Time `json:"first,omitzero"` // when the first of them happened
}

func (d *digest) add(n Notice) {
	if d.N++; d.N == 1 {
		d.First = n.Time
	}
	if len(d.Lines) < digestLines {
		d.Lines = append(d.Lines, n.Time.UTC().Format(time.RFC3339)+" "+n.Text)
	}
}

// notice is what a digest tells.
func (d digest) notice(of, id, box, mode string, now time.Time) Notice {
	words := map[string]string{StageChanged: "changes of stages", ClusterSeen: "changes of clusters", HealthBegan: "messages about the box's health"}
	return Notice{ID: id, Type: Digest, Time: now.UTC().Truncate(time.Millisecond), Box: box, Mode: mode, Severity: "notice",
		Text: "and " + strconv.Itoa(d.N) + " more " + words[of] + " than are told one by one", More: d.N, Of: of, Lines: d.Lines}
}

// oneLine is what a template made of a subject: its first line that is not empty.
func oneLine(s string) string {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}
