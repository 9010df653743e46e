package webadmin

import (
	"encoding/json"
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
	summary  string
	query    []string // names of query parameters
	required []string // those that must be there
	headers  []string // names of headers that may be there
	steps    []string // what the parameter step may say
	body     any      // a value of the type that is taken; nil: nothing
	answer   any      // a value of the type that is answered; nil: a stream or free JSON
	lines    any      // a value of the type of each line that is answered to who accepts [linesType]; nil: nothing
	stream   bool     // text/event-stream
	media    string   // of a file that is answered
	takes    string   // media type of a file that is taken
}

// apiRoutes are the API's routes, the same over HTTPS and over the local socket.
func apiRoutes() []route {
	paged := []string{"limit", "cursor"}
	return append([]route{
		{"GET", apiRoot + "/status", viewing, (*Server).apiStatus, &operation{summary: "The box as a whole", answer: Status{}}},
		{"GET", apiRoot + "/traffic", viewing, (*Server).apiTraffic, &operation{summary: "Sessions and TLS handshakes that began, and sessions that ended by how they were protected, by the minute for the last hour", answer: Traffic{}}},
		{"GET", apiRoot + "/subscribers", viewing, (*Server).apiSubscribers, &operation{summary: "Subscribers, strictest stage first; sort: name, id, budget (the fullest first), since (the stage's begin, the last one first) or networks (who contacted most, as far as a budget of destinations says) instead, for a viewer only the last three; q: part of an id, a name, a plan or a case number, or an address, a prefix, or the beginning of an address in whole numbers; brief: without bindings, budgets, decisions and sentence",
			query: append([]string{"stage", "q", "exempt", "sort", "brief"}, paged...), answer: list[Subscriber]{}}},
		{"GET", apiRoot + "/subscribers/{id}", viewing, (*Server).apiSubscriber, &operation{summary: "One subscriber with its decisions", answer: Subscriber{}}},
		{"GET", apiRoot + "/subscribers/{id}/history", viewing, (*Server).apiHistory, &operation{summary: "What one subscriber did lately: by the minute for an hour, by ten minutes for two days or by the hour for two weeks; stages, last sessions, networks, TLS clients. Where more is true older records were not looked at yet: ask again",
			query: []string{"step"}, steps: stepsOfHistory, answer: History{}}},
		{"POST", apiRoot + "/subscribers/{id}/release", operating, (*Server).apiRelease, &operation{summary: "Let a subscriber go: budgets refilled, back to stage observe", answer: Subscriber{}}},
		{"DELETE", apiRoot + "/subscribers/{id}/release", operating, (*Server).apiUnrelease, &operation{summary: "Take a release back, as long as the subscriber has released: budgets, stage and case are as they would be by now without it, and what ran since is charged. 409 where there is nothing to take back", answer: Subscriber{}}},
		{"POST", apiRoot + "/subscribers/{id}/exemption", operating, (*Server).apiExempt, &operation{summary: "Let a subscriber pass until a time, at most 366 days ahead; counted as ever",
			body: exemptionBody{}, answer: Subscriber{}}},
		{"DELETE", apiRoot + "/subscribers/{id}/exemption", operating, (*Server).apiUnexempt, &operation{summary: "End an exemption", answer: Subscriber{}}},
		{"PATCH", apiRoot + "/subscribers/{id}", operating, (*Server).apiSetPlan, &operation{summary: "Put a subscriber under another plan, whatever the list says; an empty one goes back to the list's",
			body: planBody{}, answer: Subscriber{}}},
		{"POST", apiRoot + "/cases/{id}/hold", operating, (*Server).apiHold, &operation{summary: "Keep what belongs to a case in the journal beyond its time", body: holdBody{}, answer: Hold{}}},
		{"DELETE", apiRoot + "/cases/{id}/hold", operating, (*Server).apiUnhold, &operation{summary: "End that: what is beyond its time goes within a minute", answer: Hold{}}},
		{"GET", apiRoot + "/holds", operating, (*Server).apiHolds, &operation{summary: "The cases that are held", answer: Holds{}}},
		{"GET", apiRoot + "/cases/{id}", viewing, (*Server).apiCase, &operation{summary: "What happened under a case number", answer: Case{}}},
		{"GET", apiRoot + "/cases/{id}/evidence.zip", operating, (*Server).apiEvidence, &operation{summary: "What an abuse desk hands on of a case: a page, its sessions and records, an XARF report, hashes", media: "application/zip"}},
		{"POST", whatIfPath, operating, (*Server).apiWhatIf, &operation{summary: "Try a configuration (its text in YAML or JSON, or an object) on the last days of the journal, against the one in force: who would have been in which stage for how long. One at a time; it ends with the connection. Who accepts " + linesType + " waits for another one to end, and is told some times a second how far it is, an object a line: progress, and at last report or problem", body: whatIfBody{}, answer: WhatIf{}, lines: WhatIfLine{}}},
		{"GET", apiRoot + "/sentences", viewing, (*Server).apiSentences, &operation{summary: "The file with what a caller is told: that in force, or one of the languages that the program brings (en, de). Another one is sent with PUT /config, in files, for admin.sentences_file",
			query: []string{"language"}, media: "application/yaml"}},
		{"GET", apiRoot + "/lookup", operating, (*Server).apiLookup, &operation{summary: "Who held an address at a time, best first; without a time: who holds it now",
			query: []string{"address", "at"}, required: []string{"address"}, answer: Lookup{}}},
		{"GET", apiRoot + "/unmapped", viewing, (*Server).apiUnmapped, &operation{summary: "Sources that are nobody's line, the one seen last first", query: paged, answer: list[Unmapped]{}}},
		{"GET", apiRoot + "/clusters/{id}", viewing, (*Server).apiCluster, &operation{summary: "One cluster; to have its client known as good, put its JA4 into clusters.known_good (PUT /config)", answer: Cluster{}}},
		{"GET", apiRoot + "/clusters", viewing, (*Server).apiClusters, &operation{summary: "The same rare TLS client on many subscribers; those that go on first", query: paged, answer: list[Cluster]{}}},
		{"GET", apiRoot + "/destinations", viewing, (*Server).apiDestinations, &operation{summary: "The networks contacted most in the last 5 minutes, hour or day, with the bound of the error",
			query: append([]string{"window"}, paged...), answer: Destinations{}}},
		{"GET", apiRoot + "/destinations/starttls-gone", viewing, (*Server).apiOffersGone, &operation{summary: "Mail servers that offered STARTTLS and do not any more, the last one first; of the 4096 servers seen last", query: paged, answer: list[OfferGone]{}}},
		{"GET", apiRoot + "/share", viewing, (*Server).apiShare, &operation{summary: "Sessions and bytes in clear, with STARTTLS and with TLS from the start, by the minute, hour or day; by default the last 60",
			query: append([]string{"step", "from", "to"}, paged...), steps: stepsOfShare, answer: list[SharePoint]{}}},
		{"GET", apiRoot + "/bindings", operating, (*Server).apiBindings, &operation{summary: "Who holds which prefix by word of the API, which goes before every other source",
			query: append([]string{"subscriber"}, paged...), answer: list[Binding]{}}},
		{"PUT", apiRoot + "/bindings", operating, (*Server).apiBind, &operation{summary: "Give a prefix to a subscriber from now on, whoever had it", body: bindingBody{}, answer: Binding{}}},
		{"DELETE", apiRoot + "/bindings", operating, (*Server).apiUnbind, &operation{summary: "Take back what the API said about a prefix",
			query: []string{"prefix"}, required: []string{"prefix"}, answer: Binding{}}},
		{"POST", apiRoot + "/syslog/test", operating, (*Server).apiTestSyslog, &operation{summary: "Send a test record to every collector now, and tell who has it", answer: list[SyslogResult]{}}},
		{"POST", apiRoot + "/notices/test", operating, (*Server).apiTestNotices, &operation{summary: "Send a test notice to every target now, and tell what each said", answer: list[NoticeResult]{}}},
		{"GET", apiRoot + "/plans", viewing, (*Server).apiPlans, &operation{summary: "The plans of the configuration", answer: list[Plan]{}}},
		{"GET", apiRoot + "/presets", viewing, (*Server).apiPresets, &operation{summary: "The ready-made plans that a configuration can name", answer: list[Plan]{}}},
		{"GET", apiRoot + "/events", viewing, (*Server).apiEvents, &operation{summary: "Server-sent events: counters (a status each second), stage (a STAGE record), health (the problems, when they change)", stream: true}},
		{"GET", apiRoot + "/openapi.json", viewing, (*Server).apiOpenAPI, &operation{summary: "This document"}},
	}, slices.Concat(recordRoutes(), userRoutes(), accountRoutes(), configRoutes(), certificateRoutes(), sourceRoutes(), networkRoutes(), updateRoutes())...)
}

// list is one page of a list; Next is the cursor of the following page, empty on the last one.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

func (s *Server) apiStatus(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, whole(s.see(r).Status()))
}

func (s *Server) apiTraffic(w http.ResponseWriter, r *http.Request) {
	tr := s.see(r).Traffic()
	tr.Points = orEmpty(tr.Points)
	writeJSON(w, http.StatusOK, tr)
}

func (s *Server) apiSubscribers(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	q := Query{Stages: in.stages("stage"), Text: in.text("q"), Exempt: in.yes("exempt"), Sort: in.order("sort"), Limit: in.limit(), Cursor: in.cursor()}
	brief := in.yes("brief")
	if in.refused(w) {
		return
	}
	items, next := s.see(r).Subscribers(q)
	mode, now := s.see(r).Status(), s.opt.Now()
	for i := range items {
		if brief {
			items[i].Bindings, items[i].Budgets, items[i].Decisions = nil, nil, nil
			items[i] = filled(items[i])
			continue
		}
		items[i] = s.complete(items[i], mode, now)
	}
	writeJSON(w, http.StatusOK, list[Subscriber]{orEmpty(items), next})
}

func (s *Server) apiSubscriber(w http.ResponseWriter, r *http.Request) {
	sub, ok := s.see(r).Subscriber(r.PathValue("id"))
	if !ok {
		problem(w, http.StatusNotFound, "No such subscriber", "Nobody has this id, and no session of it was seen.")
		return
	}
	writeJSON(w, http.StatusOK, s.complete(sub, s.see(r).Status(), s.opt.Now()))
}

// whole is a status with lists instead of nulls.
func whole(st Status) Status {
	st.Syslog, st.Notices, st.Problems, st.Ports = orEmpty(st.Syslog), orEmpty(st.Notices), orEmpty(st.Problems), orEmpty(st.Ports)
	return st
}

// filled is a subscriber with lists instead of nulls.
func filled(sub Subscriber) Subscriber {
	sub.Prefixes, sub.Bindings, sub.Budgets, sub.Decisions = orEmpty(sub.Prefixes), orEmpty(sub.Bindings), orEmpty(sub.Budgets), orEmpty(sub.Decisions)
	return sub
}

// complete is a subscriber with its sentence, and with lists instead of nulls.
func (s *Server) complete(sub Subscriber, st Status, now time.Time) Subscriber {
	sub = filled(sub)
	in := s.sentences.Load()
	sub.Sentence, sub.Language = sentence(in, sub, st, now, s.opt.Location), in.Lang()
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

// yes reads a switch: 1 or 0, true or false.
func (in *input) yes(name string) bool {
	switch in.q.Get(name) {
	case "", "0", "false":
	case "1", "true":
		return true
	default:
		in.wrong(name, "1 or 0")
	}
	return false
}

func (in *input) time(name string) time.Time {
	v := in.q.Get(name)
	if v == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil || t.IsZero() {
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
	return in.oneOf(name, strings.ToUpper(in.text(name)), recordKinds)
}

// oneOf is a word that may be missing, or must be one of some.
func (in *input) oneOf(name, word string, all []string) string {
	if word != "" && !slices.Contains(all, word) {
		in.wrong(name, "one of "+strings.Join(all, ", "))
		return ""
	}
	return word
}

// refused answers 400 when something was wrong.
func (in *input) refused(w http.ResponseWriter) bool {
	if len(in.errors) == 0 {
		return false
	}
	badValues(w, in.errors)
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
