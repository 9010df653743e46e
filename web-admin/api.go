package webadmin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// operation is what the OpenAPI document says of a route.
type operation struct {
	summary string
	query   []string // names of query parameters
	answer  any      // a value of the type that is answered; nil: a stream or free JSON
	stream  bool     // text/event-stream
}

// apiRoutes are the API's routes, the same over HTTPS and over the local socket.
func apiRoutes() []route {
	paged := []string{"limit", "cursor"}
	return []route{
		{"GET", apiRoot + "/status", byToken, (*Server).apiStatus, &operation{summary: "The box as a whole", answer: Status{}}},
		{"GET", apiRoot + "/subscribers", byToken, (*Server).apiSubscribers, &operation{summary: "Subscribers, strictest stage first",
			query: append([]string{"stage", "q"}, paged...), answer: list[Subscriber]{}}},
		{"GET", apiRoot + "/subscribers/{id}", byToken, (*Server).apiSubscriber, &operation{summary: "One subscriber with its decisions", answer: Subscriber{}}},
		{"POST", apiRoot + "/subscribers/{id}/release", byToken, (*Server).apiRelease, &operation{summary: "Let a subscriber go: budgets refilled, back to stage observe", answer: Subscriber{}}},
		{"GET", apiRoot + "/records", byToken, (*Server).apiRecords, &operation{summary: "The last records, newest first",
			query: append([]string{"kind", "subscriber", "from", "to"}, paged...), answer: list[Record]{}}},
		{"GET", apiRoot + "/events", byToken, (*Server).apiEvents, &operation{summary: "Server-sent events: counters (a status each second), stage (a STAGE record), health (the problems, when they change)", stream: true}},
		{"GET", apiRoot + "/openapi.json", byToken, (*Server).apiOpenAPI, &operation{summary: "This document"}},
	}
}

// list is one page of a list; Next is the cursor of the following page, empty on the last one.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

func (s *Server) apiStatus(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, whole(s.opt.Source.Status()))
}

func (s *Server) apiSubscribers(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	q := Query{Stages: in.stages("stage"), Text: in.text("q"), Limit: in.limit(), Cursor: in.cursor()}
	if in.refused(w) {
		return
	}
	items, next := s.opt.Source.Subscribers(q)
	mode, now := s.opt.Source.Status(), s.opt.Now()
	for i := range items {
		items[i] = s.complete(items[i], mode, now)
	}
	writeJSON(w, http.StatusOK, list[Subscriber]{orEmpty(items), next})
}

func (s *Server) apiSubscriber(w http.ResponseWriter, r *http.Request) {
	sub, ok := s.opt.Source.Subscriber(r.PathValue("id"))
	if !ok {
		problem(w, http.StatusNotFound, "No such subscriber", "Nobody has this id, and no session of it was seen.")
		return
	}
	writeJSON(w, http.StatusOK, s.complete(sub, s.opt.Source.Status(), s.opt.Now()))
}

func (s *Server) apiRelease(w http.ResponseWriter, r *http.Request) {
	sub, err := s.opt.Source.Release(r.PathValue("id"), actorOf(r).who)
	switch {
	case errors.Is(err, ErrUnknownSubscriber):
		problem(w, http.StatusNotFound, "No such subscriber", "Nobody has this id, and no session of it was seen.")
	case err != nil:
		s.opt.Log.Error("web admin: release", "err", err)
		problem(w, http.StatusInternalServerError, "The subscriber was not released", err.Error())
	default:
		writeJSON(w, http.StatusOK, s.complete(sub, s.opt.Source.Status(), s.opt.Now()))
	}
}

func (s *Server) apiRecords(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	q := RecordQuery{Kind: in.kind("kind"), Subscriber: in.text("subscriber"), From: in.time("from"), To: in.time("to"),
		Limit: in.limit(), Cursor: in.cursor()}
	if in.refused(w) {
		return
	}
	items, next := s.opt.Source.Records(q)
	writeJSON(w, http.StatusOK, list[Record]{orEmpty(items), next})
}

// whole is a status with lists instead of nulls.
func whole(st Status) Status {
	st.Syslog, st.Problems, st.Ports = orEmpty(st.Syslog), orEmpty(st.Problems), orEmpty(st.Ports)
	return st
}

// complete is a subscriber with its sentence, and with lists instead of nulls.
func (s *Server) complete(sub Subscriber, st Status, now time.Time) Subscriber {
	sub.Prefixes, sub.Bindings, sub.Budgets, sub.Decisions = orEmpty(sub.Prefixes), orEmpty(sub.Bindings), orEmpty(sub.Budgets), orEmpty(sub.Decisions)
	sub.Sentence = sentence(sub, st, now, s.opt.Location)
	return sub
}

func orEmpty[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// input reads query parameters and collects what is wrong with them.
type input struct {
	q      url.Values
	errors []fieldError
}

type fieldError struct {
	Field   string `json:"field"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
}

func (in *input) wrong(field, message string) {
	in.errors = append(in.errors, fieldError{Field: field, Message: message})
}

const maxText = 256

func (in *input) text(name string) string {
	v := strings.TrimSpace(in.q.Get(name))
	if len(v) > maxText {
		in.wrong(name, "at most 256 bytes")
		return ""
	}
	return v
}

// maxCursor has room for the longest id in a cursor.
const maxCursor = 1024

func (in *input) cursor() string {
	v := in.q.Get("cursor")
	if len(v) > maxCursor {
		in.wrong("cursor", "the next of the page before")
		return ""
	}
	return v
}

func (in *input) limit() int {
	v := in.q.Get("limit")
	if v == "" {
		return defaultLimit
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxLimit {
		in.wrong("limit", "a number from 1 to 1000")
	}
	return n
}

func (in *input) time(name string) time.Time {
	v := in.q.Get(name)
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		in.wrong(name, "a time like 2026-01-31T09:30:00Z")
	}
	return t
}

// stages reads stage names, given several times or separated by commas.
func (in *input) stages(name string) []string {
	var out []string
	for _, v := range in.q[name] {
		for _, word := range strings.Split(v, ",") {
			word = strings.TrimSpace(word)
			if word == "" {
				continue
			}
			if stageRank(word) < 0 {
				in.wrong(name, "one of observe, warn, pace, defer, cut")
				return nil
			}
			out = append(out, word)
		}
	}
	return out
}

// kind reads the name of a kind of records, in capitals or not.
func (in *input) kind(name string) string {
	kind := strings.ToUpper(in.text(name))
	if kind != "" && !slices.Contains(recordKinds, kind) {
		in.wrong(name, "one of "+strings.Join(recordKinds, ", "))
		return ""
	}
	return kind
}

// refused answers 400 when something was wrong.
func (in *input) refused(w http.ResponseWriter) bool {
	if len(in.errors) == 0 {
		return false
	}
	writeProblem(w, problemDetails{Title: "The request has values that cannot be used", Status: http.StatusBadRequest, Errors: in.errors})
	return true
}

// problemDetails is RFC 9457. Without a type the title says what it is (section 4.2.1: about:blank).
type problemDetails struct {
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"`
	Errors []fieldError `json:"errors,omitempty"`
}

func problem(w http.ResponseWriter, status int, title, detail string) {
	writeProblem(w, problemDetails{Title: title, Status: status, Detail: detail})
}

func writeProblem(w http.ResponseWriter, p problemDetails) {
	b, err := json.Marshal(p)
	if err != nil {
		panic("webadmin: " + err.Error()) // strings and numbers always marshal
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	w.Write(append(b, '\n'))
}

// writeJSON encodes first and writes then, so that an answer is whole or an error.
func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		problem(w, http.StatusInternalServerError, "The answer could not be written", err.Error()) // a NaN ratio, a year beyond 9999
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}
