package webadmin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Trier tries configurations.
type Trier interface {
	// WhatIf tries a configuration, as text, on the last days of the journal, against the one in force, and gives the report as JSON. It takes
	// seconds and ends with ctx. [ErrBusy] while another one is under way; [ErrNoJournal]; [WrongConfig] or [Refused] for what cannot be tried, which
	// quote nothing but what they were given. Of any other error whoever asked learns only that there was one.
	WhatIf(ctx context.Context, config []byte, days int, who string) (json.RawMessage, error)
}

// ErrBusy is what [Trier] returns while it tries another one.
var ErrBusy = errors.New("another one is under way")

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
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(whatIfAnswerIn)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.notDone(w, err, "Nothing was tried")
		return
	}
	answer, err := s.opt.Source.WhatIf(r.Context(), config, days, actorOf(r).who)
	var wrong WrongConfig
	var refused Refused
	switch {
	case errors.Is(err, ErrBusy):
		problem(w, http.StatusConflict, "Nothing was tried", "Another what-if is under way; one at a time.")
	case errors.Is(err, context.Canceled): // nobody waits for an answer
	case errors.As(err, &wrong):
		p := problemDetails{Title: "The configuration is not good", Status: http.StatusBadRequest}
		for _, one := range wrong {
			p.Errors = append(p.Errors, fieldError{Field: one.Key, Line: one.Line, Message: one.Message})
		}
		writeProblem(w, p)
	case errors.Is(err, ErrNoJournal):
		problem(w, http.StatusServiceUnavailable, "Nothing was tried", "The box has no journal in this life; its status says why.")
	case errors.As(err, &refused):
		s.notDone(w, refused, "Nothing was tried")
	case err != nil: // whose text may have more of the box in it than an operator may see
		s.opt.Log.Error("web admin: nothing was tried", "err", err)
		problem(w, http.StatusInternalServerError, "Nothing was tried", "It failed on the box; the box's log says why.")
	default:
		writeJSON(w, http.StatusOK, answer)
	}
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
