package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/bench/helper"
)

// people is how many log in at once.
const people = 200

// loginsTask is many people who try to log in at once, again and again, each time from other addresses and by other names, so that no throttle
// spares the box the work. None of them has the right password, which takes as long as if they had.
type loginsTask struct {
	Base   string // https://HOST:PORT/
	People int
}

type loginsResult struct {
	Tries   uint64
	Looked  uint64 // passwords that were looked at; the others were told that too many log in at this moment
	Late    uint64 // tries that came to nothing: whoever cannot say within five seconds what they want is hung up on
	Slowest time.Duration
}

// add counts a try that was answered with code; 0: it was not.
func (r *loginsResult) add(code int, took time.Duration) error {
	r.Tries++
	switch code {
	case http.StatusUnauthorized:
		r.Looked++
	case http.StatusServiceUnavailable:
	case 0:
		r.Late++
		return nil
	default:
		return fmt.Errorf("a login with a wrong password answers %d", code)
	}
	r.Slowest = max(r.Slowest, took)
	return nil
}

func knock(task loginsTask, stop <-chan struct{}) (loginsResult, error) {
	var all loginsResult
	for tries := 0; ; tries += task.People {
		var mu sync.Mutex
		var wg sync.WaitGroup
		var errs []error
		var lost error
		for i := range task.People {
			wg.Go(func() {
				began := time.Now()
				code, err := tryLogin(task.Base, tries+i)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					code, lost = 0, err
				}
				errs = append(errs, all.add(code, time.Since(began)))
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return all, err
		}
		if all.Looked == 0 { // nobody is to believe that many logged in
			return all, fmt.Errorf("no password was looked at: %w", lost)
		}
		select {
		case <-stop:
			return all, nil
		default:
		}
	}
}

// tryLogin is the nth try: a connection, a handshake and a password of its own.
func tryLogin(base string, n int) (code int, err error) {
	from := nth(netip.MustParseAddr("127.1.0.0"), n)
	c := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // the box has just made its certificate
		DialContext:       (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}).DialContext,
	}}
	resp, err := c.PostForm(base+"login", url.Values{"name": {fmt.Sprintf("guess-%d", n)}, "password": {"a guess of mine, wrong"}})
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}

// loggingIn is the load of logins. The box's peak of memory counts from its begin on.
type loggingIn struct {
	helped[loginsResult]
	box    *box
	before float64 // bytes
}

func logins(ctx context.Context, r *rig, b *box) (load, error) {
	for _, pid := range b.pids() {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil { // proc(5): the peak begins anew
			return nil, err
		}
	}
	before, _, err := b.memory()
	if err != nil {
		return nil, err
	}
	h, err := helper.Start(ctx, r.Box, helper.Low, "logins", loginsTask{Base: "https://127.0.0.1:8443/", People: people})
	return loggingIn{helped[loginsResult]{h, time.Now(), func(a loginsResult, began time.Time) work {
		return work{rate("logins", float64(a.Tries), began), rate("passwords looked at", float64(a.Looked), began), {"% of the tries hung up on as too slow", 100 * float64(a.Late) / float64(a.Tries)}, {"ms for the slowest", float64(a.Slowest.Milliseconds())}}
	}}, b, before}, err
}

func (l loggingIn) work() (work, error) {
	w, err := l.helped.work()
	_, most, failed := l.box.memory()
	return append(w, count{loginMemory, (most - l.before) / 1e6}), errors.Join(err, failed)
}

// control says by how much the box grows without logins, by the garbage of the connections that are measured above all.
func (loggingIn) control(two sample) count {
	return count{"MB by which it grew in its control, without logins", two.grown / 1e6}
}

// loginMemory is what loggingIn says of memory.
const loginMemory = "MB of memory at most beyond that of before"
