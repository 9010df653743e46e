package evidence

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// XARF is the version of the specification that reports follow: https://xarf.org, category infrastructure, type botnet.
const XARF = "4.2.0"

// maxEvidence is the size of one piece of evidence, in bytes, before base64 (XARF 4, evidence_item.size).
const maxEvidence = 5 << 20

// errNoReport is why a pack has no XARF report.
var errNoReport = errors.New("no XARF report")

// report is an XARF 4 report.
type report struct {
	Version     string    `json:"xarf_version"`
	ID          string    `json:"report_id"`
	Time        string    `json:"timestamp"`
	Reporter    contact   `json:"reporter"`
	Sender      contact   `json:"sender"`
	Source      string    `json:"source_identifier"`
	SourcePort  int       `json:"source_port,omitempty"`
	Category    string    `json:"category"`
	Type        string    `json:"type"`
	From        string    `json:"evidence_source"`
	Evidence    []exhibit `json:"evidence,omitempty"`
	Tags        []string  `json:"tags"`
	Description string    `json:"description"`
	Compromise  string    `json:"compromise_evidence"`
	Can         []string  `json:"bot_capabilities"`
}

type contact struct {
	Org     string `json:"org"`
	Contact string `json:"contact"`
	Domain  string `json:"domain"`
}

type exhibit struct {
	ContentType string `json:"content_type"`
	Description string `json:"description"`
	Payload     string `json:"payload"` // base64
	Hash        string `json:"hash"`
	Size        int    `json:"size"`
}

// xarf is the report, or errNoReport with the reason.
func (p *pack) xarf() ([]byte, error) {
	at := strings.LastIndexByte(p.by.Contact, '@')
	if p.by.Organization == "" || at < 0 {
		return nil, fmt.Errorf("%w: evidence.organization and evidence.contact are not configured", errNoReport)
	}
	src := p.source()
	if !src.IsValid() {
		return nil, fmt.Errorf("%w: no session of this case is known, so there is no address to name", errNoReport)
	}
	who := contact{p.by.Organization, p.by.Contact, p.by.Contact[at+1:]}
	port, _ := strconv.Atoi(p.port[src]) // of the last session; what is no port is left out
	r := report{
		Version: XARF, ID: p.reportID(), Time: p.Opened.UTC().Format(time.RFC3339), Reporter: who, Sender: who, Source: src.String(), SourcePort: port,
		Category: "infrastructure", Type: "botnet", From: "traffic_analysis",
		Tags:        []string{"mailweir:stage-" + p.Highest},
		Description: cut(fmt.Sprintf("Case %s: this line sent, or tried to send, mail to port 25 beyond what one like it does. Strictest measure: %s. %s.", p.ID, p.Highest, p.Reason), 1000),
		Compromise:  p.seen(),
		Can:         []string{"spam"},
	}
	data, older := p.newestRows(maxEvidence)
	what := "The sessions, one a line, as the box at the edge of the network saw them; contents were not read"
	if older += p.left.Sessions; older > 0 {
		what += fmt.Sprintf("; the oldest %d are left out", older)
	}
	r.Evidence = []exhibit{{"text/csv", what, base64.StdEncoding.EncodeToString(data), "sha256:" + sum(data), len(data)}}
	return json.MarshalIndent(r, "", "  ")
}

// seen is what was observed, and no more than that.
func (p *pack) seen() string {
	earlier := ""
	if p.left.Sessions > 0 {
		earlier = fmt.Sprintf(" %d earlier sessions are not counted here.", p.left.Sessions)
	}
	return fmt.Sprintf("Traffic at the network's edge: %d SMTP sessions from %s to %s, %s to %s UTC, with at least %d messages; %d decisions to warn, slow, defer or cut. "+
		"That the line belongs to a botnet is inferred from this and not proved by it."+earlier,
		p.sessions, plural(len(p.src), "address", "addresses"), plural(len(p.dst), "network", "networks"),
		p.first.UTC().Format("2006-01-02 15:04:05"), p.last.UTC().Format("2006-01-02 15:04:05"), p.messages, p.decisions)
}

// newestRows is sessions.csv, without the oldest rows if it is longer than most bytes, and how many those are.
func (p *pack) newestRows(most int) (data []byte, older int) {
	data = p.csv.Bytes()
	if len(data) <= most {
		return data, 0
	}
	header := data[:p.rows[0]]
	for older < len(p.rows) && len(header)+len(data)-p.rows[older] > most {
		older++
	}
	if older == len(p.rows) {
		return header, older
	}
	return slices.Concat(header, data[p.rows[older]:]), older
}

// reportID is the same for a case whenever its pack is made: a UUID in the form of version 4, of the box and the number.
func (p *pack) reportID() string {
	b := sha256.Sum256([]byte(p.Box + "\x00" + p.ID + "\x00" + p.Opened.UTC().Format(time.RFC3339Nano)))
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + more
}

// cut shortens s to at most n characters.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
