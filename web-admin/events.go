package webadmin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const eventEvery = time.Second

// apiEvents streams until the caller goes, its session ends or the server stops: "counters" each second, "stage" for every STAGE
// record, "health" at the start and whenever the problems change. A stage event's id is its seq, so a client that reconnects
// (Last-Event-ID) misses none that the box still remembers.
func (s *Server) apiEvents(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "10")
		problem(w, http.StatusServiceUnavailable, "Too many event streams", fmt.Sprintf("At most %d run at once. Close one and try again.", maxStreams))
		return
	}
	src := s.see(r)
	st := stream{src: src, w: w, ctl: http.NewResponseController(w)}
	if last, err := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		st.seq = last
	} else if newest, err := src.Records(r.Context(), RecordQuery{Limit: 1}); err != nil {
		return // the caller has gone
	} else if len(newest.Items) > 0 {
		st.seq = newest.Items[0].Seq
	}
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(eventEvery)
	defer tick.Stop()
	for {
		if st.send(r.Context()) != nil {
			return // the caller has gone
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
		if !s.still(r) {
			return // logged out, too old, or another role: the next request says so
		}
	}
}

// still tells whether r's caller may still what they might when they asked.
func (s *Server) still(r *http.Request) bool {
	a := actorOf(r)
	if a.cookie != "" {
		now, ok := s.person(r, false)
		return ok && now.role == a.role
	}
	if bearer, sent := bearerOf(r); sent {
		now, ok := s.program(r, bearer)
		return ok && now.role == a.role
	}
	return true // over the socket
}

// stream is one caller's event stream; only its handler touches it.
type stream struct {
	src    Reader
	w      http.ResponseWriter
	ctl    *http.ResponseController
	seq    uint64 // the last record looked at
	health []byte // the last problems sent
}

// send writes one second's events.
func (st *stream) send(ctx context.Context) error {
	src := st.src
	var out bytes.Buffer
	status := whole(src.Status())
	health, err := json.Marshal(problemsOf(status))
	if err != nil {
		return err
	}
	if !bytes.Equal(health, st.health) {
		st.health = health
		fmt.Fprintf(&out, "event: health\ndata: %s\n\n", health)
	}
	missed, err := st.missed(ctx)
	if err != nil {
		return err
	}
	for i := len(missed) - 1; i >= 0; i-- { // oldest first
		data, err := json.Marshal(missed[i])
		if err != nil {
			return err
		}
		st.seq = max(st.seq, missed[i].Seq)
		fmt.Fprintf(&out, "event: stage\nid: %d\ndata: %s\n\n", missed[i].Seq, data)
		if out.Len() >= writeFrom {
			if err := st.write(&out); err != nil {
				return err
			}
		}
	}
	counters, err := json.Marshal(status)
	if err != nil {
		return err
	}
	fmt.Fprintf(&out, "event: counters\ndata: %s\n\n", counters)
	return st.write(&out)
}

// missed is every STAGE record after the last one sent that the box still remembers, newest first, however many pages that takes.
func (st *stream) missed(ctx context.Context) (all []Record, err error) {
	q := RecordQuery{Kind: "STAGE", After: st.seq, Limit: maxLimit}
	for {
		page, err := st.src.Records(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all, nil
		}
	}
}

const writeFrom = 64 << 10 // bytes of events that are written without waiting for the rest

// write sends what is in out and empties it. The server's write timeout is for whole answers; a stream gets it anew each time.
func (st *stream) write(out *bytes.Buffer) error {
	if err := st.ctl.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := out.WriteTo(st.w); err != nil {
		return err
	}
	return st.ctl.Flush()
}
