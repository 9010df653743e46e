package webadmin

import (
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"
)

// linesType is the media type of answers that have a JSON object a line.
const linesType = "application/x-ndjson"

// lines is an answer that tells how far it is while somebody works on it. Until the first line it may still become another one.
type lines struct {
	w     http.ResponseWriter
	ctl   *http.ResponseController
	mu    sync.Mutex
	begun bool // for whoever says nothing any more
}

// newLines gives an answer more time than small ones have.
func newLines(w http.ResponseWriter) (*lines, error) {
	l := &lines{w: w, ctl: http.NewResponseController(w)}
	err := l.ctl.SetWriteDeadline(time.Now().Add(whatIfAnswerIn))
	if errors.Is(err, http.ErrNotSupported) {
		err = nil
	}
	return l, err
}

// say writes a line. Of who does not read it any more the request's context tells.
func (l *lines) say(v any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text, err := json.Marshal(v)
	if err != nil {
		panic("webadmin: " + err.Error()) // ours
	}
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", linesType)
	}
	_ = l.ctl.SetWriteDeadline(time.Now().Add(whatIfAnswerIn))
	_, _ = l.w.Write(append(text, '\n'))
	_ = l.ctl.Flush()
}
