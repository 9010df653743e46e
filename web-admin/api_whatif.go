package webadmin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Trier tries configurations.
type Trier interface {
	// WhatIf tries a configuration on the last days of the journal, against the one in force, and gives the report as JSON. It takes
	// seconds and ends with ctx. [Busy] while another one is under way, unless it is to wait; [ErrNoJournal]; [WrongConfig] or [Refused] for what cannot be tried, which
	// quote nothing but what they were given. Of any other error whoever asked learns only that there was one.
	WhatIf(ctx context.Context, q WhatIfQuestion) (json.RawMessage, error)
}

// WhatIfQuestion is a configuration that is to be tried.
type WhatIfQuestion struct {
	Config []byte // its text
	Days   int
	Who    string // for the AUDIT record

	// Typed: a page asks by itself while somebody types. An answer of some minutes ago will do, and one AUDIT record in ten minutes.
	Typed bool

	// Waits is told each second for whom it waits, and then it does; nil: it does not.
	Waits func(behind Busy)
	// Progress is told how far it is, some times a second, until WhatIf returns; nil: nobody is.
	Progress func(WhatIfProgress)
}

// What a what-if is doing.
const (
	DoingWait    = "wait" // for another one
	DoingList    = "list" // reads lists of subscribers
	DoingJournal = "journal"
	DoingReport  = "report"
)

// WhatIfProgress is how far a what-if is.
type WhatIfProgress struct {
	Doing  string `json:"doing"`            // wait | list | journal | report
	Behind string `json:"behind,omitempty"` // while it waits: whose is under way,
	Since  Time   `json:"since"`            // and since when
	Read   int64  `json:"read_bytes"`       // of the journal's inputs,
	Of     int64  `json:"of_bytes"`         // of so many
	From   Time   `json:"from"`             // the time that they are of
	To     Time   `json:"to"`
	At     Time   `json:"at"` // and up to when they were decided again
}

// ErrBusy is what [Trier] and [Updater] return while another one is under way. Of a what-if it is a [Busy].
var ErrBusy = errors.New("another one is under way")

// Busy says whose what-if is under way.
type Busy struct {
	Who   string // as AUDIT records have it
	Since Time
}

func (Busy) Error() string        { return ErrBusy.Error() }
func (Busy) Is(target error) bool { return target == ErrBusy }

// ErrNoJournal is what [Trier] returns in a life that has none.
var ErrNoJournal = errors.New("there is no journal")

// ConfigProblem is one thing that is wrong in a configuration.
type ConfigProblem struct {
	Key     string `json:"field"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
}

// WrongConfig is the error for a configuration that is none.
type WrongConfig []ConfigProblem

func (w WrongConfig) Error() string {
	return fmt.Sprintf("%d things are wrong in the configuration", len(w))
}

const (
	maxConfigBytes = 1 << 20
	maxWhatIfDays  = 400
	whatIfPath     = apiRoot + "/what-if"
	whatIfAnswerIn = 3 * time.Minute
)

type whatIfBody struct {
	Config string `json:"config"` // YAML or JSON
	Days   int    `json:"days"`
}

func (s *Server) apiWhatIf(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	config := b.document("config")
	days := b.whole("days", 1, maxWhatIfDays)
	if b.refused(w) {
		return
	}
	out, err := newLines(w)
	if err != nil {
		s.notDone(w, err, "Nothing was tried")
		return
	}
	q := WhatIfQuestion{Config: config, Days: days, Who: actorOf(r).who}
	if strings.Contains(r.Header.Get("Accept"), linesType) {
		q.Waits = func(b Busy) { out.say(rawWhatIfLine{Progress: b.progress()}) }
		q.Progress = func(p WhatIfProgress) { out.say(rawWhatIfLine{Progress: &p}) }
	}
	answer, err := s.opt.Source.WhatIf(r.Context(), q)
	switch {
	case errors.Is(err, context.Canceled): // nobody waits for an answer
	case err != nil && out.begun:
		p := s.notTried(err)
		out.say(rawWhatIfLine{Problem: &p})
	case err != nil:
		writeProblem(w, s.notTried(err))
	case q.Progress != nil:
		out.say(rawWhatIfLine{Report: answer})
	default:
		writeJSON(w, http.StatusOK, answer)
	}
}

// rawWhatIfLine is a WhatIfLine with the report as the box gives it.
type rawWhatIfLine struct {
	Progress *WhatIfProgress `json:"progress,omitempty"`
	Report   json.RawMessage `json:"report,omitempty"`
	Problem  *problemDetails `json:"problem,omitempty"`
}

// WhatIfLine is a line of an answer that tells how far it is: progress, again and again, and then either the report or a problem.
type WhatIfLine struct {
	Progress *WhatIfProgress `json:"progress,omitempty"`
	Report   *WhatIf         `json:"report,omitempty"`
	Problem  *problemDetails `json:"problem,omitempty"`
}

func (b Busy) progress() *WhatIfProgress {
	who, _, _ := strings.Cut(b.Who, " ") // without the address
	return &WhatIfProgress{Doing: DoingWait, Behind: who, Since: b.Since}
}

// notTried is why nothing was.
func (s *Server) notTried(err error) problemDetails {
	const not = "Nothing was tried"
	var wrong WrongConfig
	var refused Refused
	switch {
	case errors.Is(err, ErrBusy):
		return problemDetails{Title: not, Status: http.StatusConflict, Detail: "Another what-if is under way; one at a time."}
	case errors.As(err, &wrong):
		p := problemDetails{Title: "The configuration is not good", Status: http.StatusBadRequest}
		for _, one := range wrong {
			p.Errors = append(p.Errors, fieldError{Field: one.Key, Line: one.Line, Message: one.Message})
		}
		return p
	case errors.Is(err, ErrNoJournal):
		return problemDetails{Title: not, Status: http.StatusServiceUnavailable, Detail: "The box has no journal in this life; its status says why."}
	case errors.As(err, &refused):
		return problemDetails{Title: not, Status: http.StatusBadRequest, Errors: []fieldError{{Field: refused.Field, Message: refused.Message}}}
	}
	s.opt.Log.Error("web admin: nothing was tried", "err", err) // whose text may have more of the box in it than an operator may see
	return problemDetails{Title: not, Status: http.StatusInternalServerError, Detail: "It failed on the box; the box's log says why."}
}

// document is a text that must be there, of several lines, or an object, whose JSON it is then.
func (b *jsonBody) document(name string) []byte {
	b.asked = append(b.asked, name)
	raw, there := b.members[name]
	var text string
	switch {
	case !there:
		b.wrong(name, "is missing")
	case len(raw) > 0 && raw[0] == '{':
		return slices.Clone(raw)
	case json.Unmarshal(raw, &text) != nil || text == "":
		b.wrong(name, "must be a configuration: its text, or an object")
	}
	return []byte(text)
}

// whole is a whole number that must be there.
func (b *jsonBody) whole(name string, least, most int) (n int) {
	b.asked = append(b.asked, name)
	raw, there := b.members[name]
	if !there {
		b.wrong(name, "is missing")
	} else if err := json.Unmarshal(raw, &n); err != nil || n < least || n > most {
		b.wrong(name, fmt.Sprintf("must be a whole number from %d to %d", least, most))
	}
	return n
}
