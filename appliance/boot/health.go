package boot

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
)

// queueFile is there when the kernel can queue packets.
const queueFile = "/proc/net/netfilter/nfnetlink_queue"

// checkTime bounds one check.
const checkTime = 5 * time.Second

// health are the checks of a slot on trial. links are the ports that had a link when the update was written.
func health(file string, m *modules, links []string) []check {
	t := newTeller(nil, stateDir)
	var cfg *config.Config
	prepared := false
	return []check{
		{"modules", func(context.Context) error {
			if err := m.missing(needed); err != nil {
				return err
			}
			_, err := os.Stat(queueFile)
			return err
		}},
		{"configuration", func(context.Context) (err error) {
			if cfg == nil {
				cfg, err = config.Load(file)
			}
			return err
		}},
		{"links", func(context.Context) error { return linksAre(linked(links), Links()) }},
		{"governing", func(ctx context.Context) error { return governs(t.ask(ctx)) }},
		{"self-test", func(context.Context) error {
			if cfg == nil {
				return errors.New("without a configuration it is not known which queue there is")
			}
			if !prepared {
				if err := prepareSelfTest(cfg.Queue.First); err != nil {
					return err
				}
				prepared = true
			}
			return selfTest(checkTime)
		}},
		{"web admin", func(ctx context.Context) error {
			if cfg == nil {
				return errors.New("without a configuration it is not known where it listens")
			}
			return webAnswers(ctx, cfg.Admin.Listen)
		}},
	}
}

// governs says what of a running mailweir's status is not well.
func governs(s seen, err error) error {
	switch {
	case err != nil:
		return err
	case !s.Ready:
		return errors.New("not ready")
	case !s.Store.OK:
		return fmt.Errorf("store: %s", s.Store.Why)
	case s.Bridge != nil && s.Bridge.Why != "":
		return fmt.Errorf("bridge: %s", s.Bridge.Why)
	}
	return nil
}

// webAnswers asks the web admin for its page of login.
func webAnswers(ctx context.Context, listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(host, port)+"/login", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // its certificate is its own
	defer transport.CloseIdleConnections()
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c := http.Client{Timeout: checkTime, Transport: transport, CheckRedirect: stay}
	a, err := c.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode >= 400 {
		return fmt.Errorf("it answers %s", a.Status)
	}
	return nil
}
