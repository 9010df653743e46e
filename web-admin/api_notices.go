package webadmin

import (
	"context"
	"net/http"
	"time"
)

// NoticeTarget is who gets notices, and how that goes.
type NoticeTarget struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`  // webhook | mail
	Where     string `json:"where"` // scheme and host
	Up        bool   `json:"up"`    // the last attempt succeeded, or there was none yet
	Since     Time   `json:"since"`
	Waiting   int64  `json:"waiting"`
	Delivered int64  `json:"delivered"` // since the start
	Lost      int64  `json:"lost"`      // refused again and again, or made room for newer ones
	LastError string `json:"last_error"`
}

// NoticeResult is what a target said to a test.
type NoticeResult struct {
	Target string  `json:"target"`
	OK     bool    `json:"ok"`
	Error  string  `json:"error"`
	Took   Seconds `json:"took_s"`
}

// testLimit is how long a test of all targets, which are asked at once, may take.
const testLimit = 25 * time.Second

func (s *Server) apiTestNotices(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, list[NoticeResult]{Items: orEmpty(s.testNotices(r))})
}

func (s *Server) testNotices(r *http.Request) []NoticeResult {
	ctx, cancel := context.WithTimeout(r.Context(), testLimit)
	defer cancel()
	return s.opt.Source.TestNotices(ctx, actorOf(r).who)
}
