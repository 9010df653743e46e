package webadmin

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// recordView is a record as a row that explains itself; Page has all of it.
type recordView struct {
	Seq, Kind        string
	Page             string // its own page
	Severity         string
	At               moment
	Subscriber, Link string
	What             string
	Stage            string // whose tone the row's shape takes; empty: none
}

func recordOf(rec Record, z zone) recordView {
	p := map[string]string{}
	v := recordView{Seq: number(rec.Seq), Page: recordLink(rec.Seq), Kind: inert(rec.Kind), Severity: inert(rec.Severity), At: z.second(rec.At.Time), Subscriber: shortID(rec.Subscriber)}
	for _, param := range rec.Params {
		p[param.Name] = inert(param.Value)
	}
	if rec.Subscriber != "" {
		v.Link = subscriberLink(rec.Subscriber)
	}
	switch rec.Kind {
	case "SESSION":
		v.What = sessionLine(p)
	case "DECISION":
		v.What, v.Stage = decisionLine(p), p["action"]
	case "STAGE":
		v.What, v.Stage = stageLine(p), p["to"]
	case "AUDIT":
		v.What = auditLine(inert(rec.Text), p)
	default:
		v.What = inert(rec.Text)
	}
	if v.What == "" {
		v.What = restLine(rec.Params)
	}
	return v
}

// visible is inert without its bound on length: a record's line is shown whole.
func visible(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := min(len(s), longestText)
		for n < len(s) && s[n]&0xc0 == 0x80 { // not in the middle of a character
			n++
		}
		b.WriteString(inert(s[:n]))
		s = s[n:]
	}
	return b.String()
}

// joined puts the parts that there are into one line.
func joined(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, " · ")
}

// sessionLine is one session: from whom to whom, how it was protected, what went through, how it ended.
func sessionLine(p map[string]string) string {
	messages := ""
	if n, err := strconv.Atoi(p["messages"]); err == nil && n > 0 {
		messages = count(n, "message", "messages")
	}
	bytes := ""
	up, err1 := strconv.ParseInt(p["bytes_up"], 10, 64)
	down, err2 := strconv.ParseInt(p["bytes_down"], 10, 64)
	if err1 == nil && err2 == nil {
		bytes = size(up + down)
	}
	took := ""
	if ms, err := strconv.ParseInt(p["dur_ms"], 10, 64); err == nil {
		took = span(time.Duration(ms) * time.Millisecond)
	}
	end := cmp.Or(sessionEnds[p["end_reason"]], p["end_reason"])
	way := ""
	if p["src"] != "" || p["dst"] != "" {
		way = p["src"] + " → " + p["dst"]
	}
	return joined(way, protection(p["tls"], p["tls_version"], p["handshake"], p["starttls"]), messages, bytes, took, end)
}

func decisionLine(p map[string]string) string {
	action := past[p["action"]]
	if action == "" {
		action = p["action"]
	}
	if p["acted"] == "0" && stageRank(p["action"]) >= stageRank("pace") {
		action = "would be " + action
	}
	wait := ""
	if ms, err := strconv.ParseInt(p["wait_ms"], 10, 64); err == nil && ms > 0 {
		wait = waitText(p["action"], time.Duration(ms)*time.Millisecond)
	}
	note := ""
	switch {
	case p["exemption"] != "":
		note = "exempt: " + p["exemption"]
	case p["retry"] == "1":
		note = "a retry"
	}
	return joined(action, reasonText(p["reason"]), wait, note, caseText(p["case"]))
}

// auditLine is what a person did, and what that changed.
func auditLine(text string, p map[string]string) string {
	change := p["after"]
	if p["before"] != "" {
		change = p["before"] + " → " + p["after"]
	}
	return joined(text, change)
}

func stageLine(p map[string]string) string {
	return joined(fmt.Sprintf("%s → %s", p["from"], p["to"]), reasonText(p["reason"]), caseText(p["case"]))
}

func caseText(c string) string {
	if c == "" {
		return ""
	}
	return "case " + c
}

// common parameters stand in every record and explain nothing about one.
var common = map[string]bool{"seq": true, "prev": true, "box": true, "event": true, "mode": true, "policy": true}

func restLine(params []Param) string {
	var parts []string
	for _, p := range params {
		if !common[p.Name] {
			parts = append(parts, inert(p.Name)+" "+inert(p.Value))
		}
	}
	return strings.Join(parts, " · ")
}
