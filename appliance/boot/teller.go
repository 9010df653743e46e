package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// seen is what the console tells of the running mailweir.
type seen struct {
	Mode     string `json:"mode"`
	Ready    bool   `json:"ready"`
	Sessions struct {
		Open  int64 `json:"open"`
		Total int64 `json:"total"`
	} `json:"sessions"`
	Bridge *struct {
		Why string `json:"why"`
	} `json:"bridge"`
	Store struct {
		OK  bool   `json:"ok"`
		Why string `json:"why"`
	} `json:"store"`
	setupCode string // "" once somebody has made the first user with it
}

// teller says on the console what changes: governing, the first session, the address of the web admin.
type teller struct {
	console *console
	http    http.Client
	data    string
	last    string
}

func newTeller(c *console, data string) *teller {
	t := &teller{console: c, data: data}
	t.http = http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(data, "mailweir.sock"))
	}}}
	return t
}

// run looks once a second until ctx ends.
func (t *teller) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if s, err := t.ask(ctx); err == nil {
			t.tell(s, managementAddress())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// ask asks the running mailweir.
func (t *teller) ask(ctx context.Context) (s seen, err error) {
	if _, err := t.get(ctx, "status", &s); err != nil {
		return s, err
	}
	var setup struct{ Code string }
	if there, err := t.get(ctx, "setup-code", &setup); err == nil && there { // without it the rest is told all the same
		s.setupCode = setup.Code
	}
	return s, nil
}

// get reads an answer of the API over the socket in the data directory, and tells whether there is one.
func (t *teller) get(ctx context.Context, what string, into any) (there bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://mailweir/api/v1/"+what, nil)
	if err != nil {
		return false, err
	}
	a, err := t.http.Do(r)
	if err != nil {
		return false, err
	}
	defer a.Body.Close()
	switch a.StatusCode {
	case http.StatusOK:
		return true, json.NewDecoder(a.Body).Decode(into)
	case http.StatusNotFound:
		return false, nil
	}
	return false, fmt.Errorf("%s: %s", what, a.Status)
}

// tell says what is not as it was said last.
func (t *teller) tell(s seen, address string) {
	words := []string{"not ready"}
	if s.Ready {
		words = []string{"governing, mode " + s.Mode}
	}
	if s.Bridge != nil && s.Bridge.Why != "" {
		words = append(words, "the bridge is not as it has to be: "+s.Bridge.Why)
	}
	if s.Sessions.Total > 0 {
		words = append(words, "mail was seen")
	}
	if address != "" {
		words = append(words, "web admin at "+adminURL(address))
		if s.setupCode != "" {
			words = append(words, "setup code "+s.setupCode)
		}
	}
	if now := strings.Join(words, "; "); now != t.last {
		t.last = now
		t.console.say("%s", now)
	}
}

// adminPort is where the web admin listens unless the configuration says otherwise.
const adminPort = 8443

// adminURL is where the web admin is, at the management port's address.
func adminURL(address string) string {
	return "https://" + net.JoinHostPort(address, strconv.Itoa(adminPort)) + "/"
}
