package webadmin

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// historyView is what a subscriber did: the chart, its last sessions, where they went and with which clients.
type historyView struct {
	Steps         []kindTab
	Reach         string // in words: "the last 2 days"
	Chart         historyChart
	Since         moment // all that the box has from then on is in it
	More          bool   // what is older is still looked for
	Again         string // this page, which looks on
	Fault         string
	Sessions      []sessionRow
	SessionsLink  string
	Networks      []lineNetworkRow
	Owners        bool   // somebody is named
	OtherNetworks string // how many more; empty: none
	Prints        []printRow
	OtherPrints   string
}

// Empty tells whether nothing was found.
func (v historyView) Empty() bool { return len(v.Chart.Columns) == 0 }

type sessionRow struct {
	At                          moment
	Page                        string // its record's
	Server, Encrypted, Messages string
	Stage, Outcome              string // Stage: whose shape stands before the outcome; empty: none
}

type lineNetworkRow struct {
	Network, Owner, Sessions string
	Last                     moment
}

type printRow struct {
	JA4, JA3, Common, Cluster, Link, Sessions string
	Last                                      moment
}

// reachWords are how far the steps reach, as people say it.
var reachWords = map[string]string{"1m": "last hour", "10m": "last 2 days", "1h": "last 2 weeks"}

func historyOf(h History, sub Subscriber, step string, z zone) historyView {
	link := func(step string) string {
		if step == stepsOfHistory[usualStep] {
			return subscriberLink(sub.ID)
		}
		return subscriberLink(sub.ID) + "?" + url.Values{"step": {step}}.Encode()
	}
	v := historyView{Reach: reachWords[step], Chart: chartHistory(h, sub.Stage, sub.Budgets, z), Since: z.clock(h.Since.Time), More: h.More, Again: link(step), Fault: inert(h.Fault),
		SessionsLink: recordsLink("SESSION", sub.ID)}
	for _, one := range stepsOfHistory {
		v.Steps = append(v.Steps, kindTab{capital(reachWords[one]), link(one), one == step})
	}
	for _, s := range h.Sessions {
		v.Sessions = append(v.Sessions, sessionRowOf(s, z))
	}
	for _, n := range h.Networks {
		v.Networks = append(v.Networks, lineNetworkRow{inert(n.Network), ownerText(n.Owner, n.AS), number(n.Sessions), z.clock(n.Last.Time)})
	}
	v.Owners = slices.ContainsFunc(v.Networks, func(row lineNetworkRow) bool { return row.Owner != "" })
	for _, p := range h.Prints {
		row := printRow{JA4: inert(p.JA4), JA3: inert(p.JA3), Common: commonText(p), Cluster: inert(p.Cluster), Sessions: number(p.Sessions), Last: z.clock(p.Last.Time)}
		if p.Cluster != "" {
			row.Link = "/clusters/" + url.PathEscape(p.Cluster)
		}
		v.Prints = append(v.Prints, row)
	}
	if h.OtherNetworks > 0 {
		v.OtherNetworks = count(h.OtherNetworks, "more network", "more networks")
	}
	if h.OtherPrints > 0 {
		v.OtherPrints = count(h.OtherPrints, "more print", "more prints")
	}
	return v
}

func sessionRowOf(s LineSession, z zone) sessionRow {
	row := sessionRow{At: z.second(s.Start.Time), Page: recordLink(s.Seq), Server: inert(s.Server), Encrypted: protection(s.TLS, s.TLSVersion, s.Handshake, s.StartTLS), Messages: messagesText(s)}
	if s.Port != 0 && s.Port != 25 {
		row.Server += ", port " + strconv.Itoa(s.Port)
	}
	decided := ""
	if stageRank(s.Action) >= stageRank("pace") {
		row.Stage, decided = s.Action, past[s.Action]
		if !s.Acted {
			decided = "would be " + decided
		}
	}
	refused := ""
	if s.Rejected > 0 {
		refused = count(s.Rejected, "refusal", "refusals") + " of the server"
	}
	alert := ""
	if s.Alert != "" { // as RFC 8446 calls it
		alert = "TLS alert: " + inert(strings.ReplaceAll(s.Alert, "_", " "))
	}
	row.Outcome = joined(decided, alert, refused, sessionEnds[s.EndReason])
	return row
}

// sessionEnds say how a session ended.
var sessionEnds = map[string]string{"fin": "ended in order", "rst": "broken off", "timeout": "timed out", "cut": "ended by the box", "shutdown": "the box stopped looking", "unknown": "its end was not seen"}

// messagesText is how many messages a session carried: "1", "2 to 5", "3 or more".
func messagesText(s LineSession) string {
	switch {
	case s.MessagesHi < 0 && s.MessagesLo == 0:
		return "not known"
	case s.MessagesHi < 0:
		return number(s.MessagesLo) + " or more"
	case s.MessagesHi > s.MessagesLo:
		return number(s.MessagesLo) + " to " + number(s.MessagesHi)
	}
	return number(s.MessagesLo)
}

// protection says how a session was protected.
func protection(tls, version, handshake, starttls string) string {
	switch {
	case tls == "starttls" || tls == "implicit":
		text := cmp.Or(version, "TLS")
		if handshake != "complete" && handshake != "" {
			text += " handshake " + handshake
		}
		return inert(text)
	case starttls == "refused":
		return "STARTTLS refused, in clear"
	}
	return "in clear"
}

// commonText says how common a print is among the lines.
func commonText(p LinePrint) string {
	switch {
	case p.Users == 0:
		return "not remembered"
	case p.Users == 1:
		return fmt.Sprintf("this line alone, of about %s", number(p.Of))
	}
	return fmt.Sprintf("about %s of %s lines", number(p.Users), number(p.Of))
}
