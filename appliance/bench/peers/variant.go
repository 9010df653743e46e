package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/bench/helper"
	"github.com/mailweir/mailweir/appliance/lab"
)

// The variants' names.
const (
	plain    = "plain"
	track    = "ct"
	meter    = "meter"
	fast     = "fast"
	queue    = "queue"
	portable = "portable"

	fastBeside  = "fast-beside"
	queueBeside = "queue-beside"

	inGo     = "go"
	inC      = "c"
	suricata = "suricata"
	bypass   = "suricata-bypass"
)

// variant is one way to govern the subscribers.
type variant struct {
	name, title string
	beside      bool // it is Options.Beside
	needs       []func(context.Context, *rig) error
	up          func(context.Context, *rig, *running) error
}

func variants() []variant {
	return []variant{
		{name: plain, title: "plain forwarding", up: func(context.Context, *rig, *running) error { return nil }},
		{name: track, title: "conntrack only", up: rules(trackOnly)},
		{name: meter, title: "nft meter per source", up: func(ctx context.Context, r *rig, run *running) error {
			run.drops = true
			return rules(meterOnly)(ctx, r, run)
		}},
		{name: fast, title: "mailweir, fast lane", up: mailweir(true, "fast_lane: auto, reader: fast", ours)},
		{name: queue, title: "mailweir, queue lane", up: mailweir(false, "fast_lane: off, reader: fast", ours)},
		{name: portable, title: "mailweir, queue lane, portable reader", up: mailweir(false, "fast_lane: off, reader: portable", ours)},
		{name: fastBeside, title: "the other mailweir, fast lane", beside: true, up: mailweir(true, "fast_lane: auto, reader: fast", other)},
		{name: queueBeside, title: "the other mailweir, queue lane", beside: true, up: mailweir(false, "fast_lane: off, reader: fast", other)},
		{name: inC, title: "accept-all in C (libnetfilter_queue)", needs: []func(context.Context, *rig) error{buildAcceptAll}, up: readerInC},
		{name: inGo, title: "accept-all in Go (go-nfqueue, its usual loop)", up: readerInGo},
		{name: suricata, title: "Suricata in line", needs: []func(context.Context, *rig) error{unpackSuricata}, up: runSuricata(false)},
		{name: bypass, title: "Suricata in line, bypass", needs: []func(context.Context, *rig) error{unpackSuricata}, up: runSuricata(true)},
	}
}

// running is a variant that governs, and what is measured of it.
type running struct {
	pid      int           // of its process, 0 without one
	governor *lab.Governor // of mailweir
	drops    bool          // it drops some of a flood on purpose, and loses nothing else
	down     []func() error

	values            map[string]float64
	used              used
	note              string
	sessions, records float64 // of mailweir, by its own count and by the collector's
}

func (run *running) atEnd(f func() error) { run.down = append(run.down, f) }

// stop undoes what was done, the last thing first. Nothing of it is left in the box.
func (run *running) stop() error {
	var errs []error
	for i := range run.down {
		errs = append(errs, run.down[len(run.down)-1-i]())
	}
	run.down = nil
	return errors.Join(errs...)
}

// clean leaves the box without rules and connections.
func (r *rig) clean() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(flush(ctx, r.Box), r.forgetConnections())
}

func rules(text string) func(context.Context, *rig, *running) error {
	return func(ctx context.Context, r *rig, run *running) error {
		run.atEnd(r.clean)
		return nft(ctx, r.Box, text)
	}
}

// process is a program of others'.
type process struct {
	cmd  *exec.Cmd
	said bytes.Buffer
	done chan struct{} // closed when it has ended
}

// launch starts cmd; what it says is kept.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.said, &p.said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		_ = cmd.Wait() // how it ended is seen in what it said
		close(p.done)
	}()
	return p, nil
}

// ended is what to say about a process that should have gone on, or nil while it does.
func (p *process) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s: %s", p.cmd.ProcessState, bytes.TrimSpace(p.said.Bytes()))
	default:
		return nil
	}
}

// stop ends it with a signal, and after a while in any case.
func (p *process) stop(with os.Signal) error {
	_ = p.cmd.Process.Signal(with) // it may have ended
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	return nil
}

func readerInC(ctx context.Context, r *rig, run *running) error {
	return r.reader(ctx, run, r.tools.Command(ctx, r.Box, lab.Program{Path: r.acceptAll}), false)
}

// reader starts a program that reads queue 0, and then sends it the packets; with release not those of connections that it
// has marked a packet of.
func (r *rig) reader(ctx context.Context, run *running, cmd *exec.Cmd, release bool) error {
	p, err := launch(cmd)
	if err != nil {
		return err
	}
	run.atEnd(func() error {
		err := p.ended()
		return errors.Join(err, p.stop(unix.SIGTERM))
	})
	if err := r.awaitQueue(ctx, p.done); err != nil {
		return errors.Join(err, p.ended())
	}
	run.pid = cmd.Process.Pid
	run.atEnd(r.clean)
	return queueAll(r.Box, release)
}

func readerInGo(ctx context.Context, r *rig, run *running) error {
	h, err := helper.Start(ctx, r.Box, 0, "peers-naive", naiveTask{})
	if err != nil {
		return err
	}
	run.atEnd(func() error {
		var result naiveResult
		return h.Stop(&result)
	})
	if err := r.awaitQueue(ctx, nil); err != nil {
		return err
	}
	run.pid = h.PID()
	run.atEnd(r.clean)
	return queueAll(r.Box, false)
}

// settings is mailweir's configuration: everybody lawful has all kinds of budgets, and far more of each than is used here.
// A bot has what a home has that sends no mail.
const settings = `mode: enforce
network: {topology: routed, subscriber_interfaces: [%s], upstream_interfaces: [%s]}
queue: {%s}
identity: {subscribers_file: subscribers.csv, unmapped_plan: bot}
plans:
  - name: lawful
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 1000000, per: 1h, burst: 1000000}
      - {of: sessions, limit: 1000000, per: 24h}
      - {of: tls_handshakes, limit: 1000000, per: 1h}
      - {of: tls_failures, limit: 1000000, per: 1h}
      - {of: concurrent_sessions, limit: 10000}
      - {of: destinations, limit: 1000, per: 1h}
      - {of: messages, limit: 1000000, per: 1h}
  - name: bot
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 2, per: 1h}
      - {of: concurrent_sessions, limit: 2}
syslog: {targets: [{url: "tcp://%s:%d"}]}
admin: {listen: "127.0.0.1:8443", metrics: true}
`

func ours(o *Options) string  { return o.Mailweir }
func other(o *Options) string { return o.Beside }

// mailweir is the real binary with a data directory of its own.
func mailweir(fast bool, lane string, binary func(*Options) string) func(context.Context, *rig, *running) error {
	return func(ctx context.Context, r *rig, run *running) (err error) {
		dir, err := os.MkdirTemp(r.Dir, "box-")
		if err != nil {
			return err
		}
		run.atEnd(func() error { return os.RemoveAll(dir) })
		list := strings.Builder{}
		list.WriteString("subscriber,plan,prefixes\n")
		for n, addr := 0, firstLawful; n < lawful; n, addr = n+1, addr.Next() {
			fmt.Fprintf(&list, "S-%04d,lawful,%s/32\n", n, addr)
		}
		for n, addr := 0, firstBot; n < botCount; n, addr = n+1, addr.Next() {
			fmt.Fprintf(&list, "bot-%02d,bot,%s/32\n", n, addr)
		}
		config := filepath.Join(dir, "mailweir.yaml")
		err = errors.Join(
			os.WriteFile(config, fmt.Appendf(nil, settings, below, above, lane, r.collector.IPv4, syslogPort), 0o600),
			os.WriteFile(filepath.Join(dir, "subscribers.csv"), []byte(list.String()), 0o600))
		if err != nil {
			return err
		}
		collector, err := helper.Start(ctx, r.collector.Namespace, 0, "peers-collector", collectorTask{Port: syslogPort})
		if err != nil {
			return err
		}
		run.atEnd(func() error {
			var result collectorResult
			err := collector.Stop(&result)
			run.records = float64(result.Records)
			return err
		})
		if err := r.awaitCollector(ctx); err != nil {
			return fmt.Errorf("the collector of records: %w", err)
		}
		run.atEnd(r.forgetConnections)
		if run.governor, err = r.Govern(ctx, binary(r.opt), config, filepath.Join(dir, "data")); err != nil {
			return err
		}
		run.atEnd(func() error {
			err := r.tally(run, fast)
			return errors.Join(err, run.governor.Stop())
		})
		run.pid = run.governor.PID()
		return nil
	}
}

// suricataRules are what an operator would write for the same purpose.
const suricataRules = `alert smtp any any -> any any (msg:"mail"; flow:established,to_server; content:"MAIL FROM"; nocase; threshold: type limit, track by_src, seconds 60, count 1; sid:1000001;)
alert tls any any -> any 25 (msg:"mail in TLS"; tls.sni; content:"mx.example"; threshold: type limit, track by_src, seconds 60, count 1; sid:1000002;)
drop tcp any any -> any 25 (msg:"too many connections"; flags:S; detection_filter: track by_src, count 10000, seconds 10; sid:1000003;)
`

// bypassRule lets go of a session once its message has begun.
const bypassRule = `alert smtp any any -> any any (msg:"message begins"; flow:established,to_server; content:"DATA"; nocase; bypass; noalert; sid:1000009;)
`

// runSuricata is Debian's Suricata with Debian's configuration.
func runSuricata(release bool) func(context.Context, *rig, *running) error {
	return func(ctx context.Context, r *rig, run *running) error {
		dir, err := os.MkdirTemp(r.Dir, "suricata-")
		if err != nil {
			return err
		}
		run.atEnd(func() error { return os.RemoveAll(dir) })
		text := suricataRules
		if release {
			text += bypassRule
		}
		list := filepath.Join(dir, "peer.rules")
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			return err
		}
		etc := filepath.Join(r.ids.Root, "etc/suricata")
		args := []string{"-c", filepath.Join(etc, "suricata.yaml"), "-q", "0", "--runmode", "workers", "-S", list, "-l", dir}
		for _, set := range []string{
			"classification-file=" + filepath.Join(etc, "classification.config"), "reference-config-file=" + filepath.Join(etc, "reference.config"),
			"threshold-file=" + filepath.Join(etc, "threshold.config"), "unix-command.enabled=no", "nfq.mode=accept",
		} {
			args = append(args, "--set", set)
		}
		if release {
			args = append(args, "--set", "nfq.bypass-mark=1", "--set", "nfq.bypass-mask=1")
		}
		if err := r.reader(ctx, run, r.ids.Command(ctx, r.Box, lab.Program{Path: "usr/bin/suricata"}, args...), release); err != nil {
			return err
		}
		if release {
			return nft(ctx, r.Box, keepMark)
		}
		return nil
	}
}
