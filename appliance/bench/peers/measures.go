package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/bench/figures"
	"github.com/mailweir/mailweir/appliance/bench/helper"
	"github.com/mailweir/mailweir/appliance/lab"
)

func measures() []measure {
	type needs = []func(context.Context, *rig) error
	machine := quantity{"machine", "CPU us of the machine / session", true}
	governor := quantity{"governor", "CPU us of the governor / session", false}
	return []measure{
		{name: "sessions", title: "Sessions a second",
			how:        "smtp-source (32 at once, from 4000 addresses in turn by a preloaded library) to smtp-sink, each session one message of 2 kB; what ended within a sample is counted at the server.",
			quantities: []quantity{{"rate", "sessions/s", true}, machine, governor, {"records", "records a session", false}},
			needs:      needs{unpackTools, buildBindSource}, begin: beginSink, take: sessions},
		{name: "starttls", title: "STARTTLS sessions a second",
			how:        "A client and a server in Go, 16 sessions at once, ECDSA P-256, TLS 1.3 without resumption, each with one message of 2 kB.",
			quantities: []quantity{{"rate", "sessions/s", true}, machine, governor},
			begin:      beginServer, take: secureSessions},
		{name: "bulk", title: "One long message, packets as large as the kernel makes them (GSO)",
			how:        "MB/s of the DATA of one session, from its first byte to the server's answer; it ends at its full size or when its time is over.",
			quantities: []quantity{{"rate", "MB/s", true}, {"machine", "CPU s of the machine / GB", true}, {"governor", "CPU s of the governor / GB", false}},
			begin:      beginServer, take: longMessage(messageTask{}, true)},
		{name: "bulk-wire", title: "One long message, packets as on the wire (GSO off)",
			how:        "The same, with segmentation done before the box.",
			quantities: []quantity{{"rate", "MB/s", true}, {"machine", "CPU s of the machine / GB", true}, {"governor", "CPU s of the governor / GB", false}},
			begin:      beginServer, take: longMessage(messageTask{}, false)},
		{name: "bulk-tls", title: "One long message inside STARTTLS",
			how:        "The same, TLS 1.3, packets as large as the kernel makes them.",
			quantities: []quantity{{"rate", "MB/s", true}, {"machine", "CPU s of the machine / GB", true}, {"governor", "CPU s of the governor / GB", false}},
			begin:      beginServer, take: longMessage(messageTask{Secure: true}, true)},
		{name: "iperf", title: "Cross-check: iperf3 on port 25 (GSO)",
			how:        "MB/s of two streams that are no SMTP, so only through those who do not look.",
			quantities: []quantity{{"rate", "MB/s", true}}, only: []string{plain, track, meter, inC, inGo},
			needs: needs{unpackTools}, take: iperf(true)},
		{name: "iperf-wire", title: "Cross-check: iperf3 on port 25 (GSO off)",
			how:        "The same, with segmentation done before the box.",
			quantities: []quantity{{"rate", "MB/s", true}}, only: []string{plain, track, meter, inC, inGo},
			needs: needs{unpackTools}, take: iperf(false)},
		{name: "latency", title: "Time of a session under light load",
			how:        "A client in Go begins 200 sessions a second, whatever becomes of them, to smtp-sink, each with one message of 2 kB: from the connect to the answer to QUIT, in microseconds.",
			quantities: []quantity{{"p50", "us, p50", true}, {"p99", "us, p99", false}, {"machine", "CPU us of the machine / session", false}, governor},
			needs:      needs{unpackTools}, begin: beginSink, take: latency},
		{name: "attack", title: "Lawful connections a second while one subscriber floods",
			how:        "The same load as for sessions a second, while one bot sends 60,000 SYNs a second from one address; what the bot gets through is dropped at the server's interface. mailweir cuts it by itself.",
			quantities: []quantity{{"rate", "connections/s", true}, {"through", "of the flood at the server, packets/s", false}},
			needs:      needs{unpackTools, buildBindSource}, begin: beginAttack, take: attack},
		{name: "flood", title: "SYN flood from sources that are cut",
			how: "64 bots send SYNs as fast as one processor can make them. Offered is what reached the box's interface. Dealt with is what was forwarded, or, where the sources are cut, what was dropped. " +
				"mailweir has cut them by itself before; the meter lets 1000 a second of each pass.",
			quantities: []quantity{{"rate", "packets/s dealt with", true}, {"offered", "offered/s", false}, {"forwarded", "forwarded/s", false}, {"governor", "processors of the governor", false}},
			only:       []string{plain, track, meter, fast, queue, portable, inC, inGo}, begin: guardServer, take: cutFlood},
	}
}

// startSink starts smtp-sink.
func startSink(ctx context.Context, r *rig) (end, error) {
	p, err := launch(r.tools.Command(ctx, r.inet, lab.Program{Path: "usr/sbin/smtp-sink", Libraries: []string{"usr/lib/postfix"}}, "-u", "nobody", server.String(), "4096"))
	if err != nil {
		return nil, err
	}
	if err := r.awaitServer(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("smtp-sink does not listen: %w", err), p.ended(), p.stop(unix.SIGTERM))
	}
	return func() error { return errors.Join(p.ended(), p.stop(unix.SIGTERM)) }, nil
}

func (r *rig) awaitServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return await(ctx, r.inet, server)
}

func beginSink(ctx context.Context, r *rig) (end, error) { return startSink(ctx, r) }

func beginServer(ctx context.Context, r *rig) (end, error) {
	h, err := helper.Start(ctx, r.inet, 0, "peers-server", serveTask{At: server})
	if err != nil {
		return nil, err
	}
	if err := r.awaitServer(ctx); err != nil {
		return nil, errors.Join(err, h.End())
	}
	return h.End, nil
}

// beginAttack is a sink behind an interface that drops what bots get through.
func beginAttack(ctx context.Context, r *rig) (end, error) {
	unguard, err := guardServer(ctx, r)
	if err != nil {
		return nil, err
	}
	stop, err := startSink(ctx, r)
	if err != nil {
		return nil, errors.Join(err, unguard())
	}
	return func() error { return errors.Join(stop(), unguard()) }, nil
}

// source starts smtp-source without an end.
func (r *rig) source(ctx context.Context) (*process, error) {
	cmd := r.tools.Command(ctx, r.sub, lab.Program{Path: "usr/sbin/smtp-source", Libraries: []string{"usr/lib/postfix"}, Preload: r.bindSource},
		"-s", "32", "-m", "100000000", "-l", "2048", "-f", "a@subscriber.example", "-t", "b@mx.example", server.String())
	cmd.Env = append(cmd.Env, "SOURCE_FIRST="+firstLawful.String(), fmt.Sprintf("SOURCE_COUNT=%d", lawful))
	return launch(cmd)
}

// wait sleeps, unless it is to end.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// window runs smtp-source and tells how many connections the server took, and how many of them had ended, within a
// sample's time.
func (r *rig) window(ctx context.Context, run *running) (opened, ended float64, err error) {
	p, err := r.source(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, p.stop(unix.SIGKILL)) }()
	if err := errors.Join(r.turns(ctx, 2), wait(ctx, r.opt.Warm)); err != nil {
		return 0, 0, err
	}
	done := watch(run.pid)
	before, err := tcpCounters(r.inet, "PassiveOpens", "CurrEstab")
	if err != nil {
		return 0, 0, err
	}
	if err := wait(ctx, r.opt.Sample); err != nil {
		return 0, 0, err
	}
	after, err := tcpCounters(r.inet, "PassiveOpens", "CurrEstab")
	run.used = done()
	if err = errors.Join(err, p.ended()); err != nil {
		return 0, 0, err
	}
	opened = after[0] - before[0]
	return opened, opened - (after[1] - before[1]), nil
}

// turns waits until every lawful address has had so many turns, for a bounded time: under a flood a variant may never come
// so far. Who remembers those whom he has seen knows all of them then, as he does after some time in earnest.
func (r *rig) turns(ctx context.Context, n float64) error {
	first, err := tcpCounters(r.inet, "PassiveOpens")
	for end := time.Now().Add(turnsTime); err == nil && time.Now().Before(end); {
		var now []float64
		if now, err = tcpCounters(r.inet, "PassiveOpens"); err != nil || now[0]-first[0] >= n*lawful {
			break
		}
		err = wait(ctx, 20*time.Millisecond)
	}
	return err
}

// turnsTime is enough for all but the slowest.
const turnsTime = 8 * time.Second

func sessions(ctx context.Context, r *rig, run *running) error {
	_, ended, err := r.window(ctx, run)
	if err != nil {
		return err
	}
	if ended <= 0 {
		return errors.New("not one session came to its end")
	}
	run.values["rate"] = ended / run.used.took.Seconds()
	run.perSession(ended)
	return r.within(ctx, run)
}

// perSession notes the CPU time of each of so many sessions, in microseconds.
func (run *running) perSession(n float64) {
	run.values["machine"] = run.used.machine.Seconds() * 1e6 / n
	if run.pid != 0 {
		run.values["governor"] = run.used.governor.Seconds() * 1e6 / n
	}
}

// loaded runs the client in Go.
func (r *rig) loaded(ctx context.Context, run *running, task loadTask) (loadResult, error) {
	task.To, task.First, task.Sources, task.Size = server, firstLawful, lawful, 2048
	h, err := helper.Start(ctx, r.sub, 0, "peers-greet", task)
	if err == nil {
		err = h.Result(&struct{}{})
	}
	if err != nil {
		return loadResult{}, err
	}
	done := watch(run.pid)
	if h, err = helper.Start(ctx, r.sub, 0, "peers-client", task); err != nil {
		return loadResult{}, err
	}
	var l loadResult
	err = h.Result(&l)
	run.used = done()
	if err != nil {
		return l, err
	}
	if l.Failed > 0 {
		return l, fmt.Errorf("%d of %d sessions failed: %s", l.Failed, l.Failed+l.All, l.Why)
	}
	if l.Done == 0 {
		return l, errors.New("not one session came to its end")
	}
	run.perSession(float64(l.All))
	return l, r.within(ctx, run)
}

func secureSessions(ctx context.Context, r *rig, run *running) error {
	l, err := r.loaded(ctx, run, loadTask{Secure: true, Concurrent: 16, Warm: r.opt.Warm, Time: r.opt.Sample})
	run.values["rate"] = float64(l.Done) / l.Took.Seconds()
	return err
}

// lightly is how many sessions begin in a second for the latency.
const lightly = 200

func latency(ctx context.Context, r *rig, run *running) error {
	l, err := r.loaded(ctx, run, loadTask{Rate: lightly, Warm: r.opt.Warm, Time: 2 * r.opt.Sample})
	run.values["p50"], run.values["p99"] = figures.Quantile(l.Times, 0.5), figures.Quantile(l.Times, 0.99)
	return err
}

// segmented runs take with offloads on or off.
func (r *rig) segmented(gso bool, take func() error) (err error) {
	if gso {
		return take()
	}
	if err := r.offloads(false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.offloads(true)) }()
	return take()
}

func longMessage(task messageTask, gso bool) func(context.Context, *rig, *running) error {
	return func(ctx context.Context, r *rig, run *running) error {
		task.To, task.From, task.Bytes, task.Time = server, firstLawful, r.opt.Message, 2*r.opt.Sample
		return r.segmented(gso, func() error {
			done := watch(run.pid)
			h, err := helper.Start(ctx, r.sub, 0, "peers-message", task)
			if err != nil {
				return err
			}
			var m messageResult
			err = h.Result(&m)
			run.used = done()
			if err != nil {
				return err
			}
			run.values["rate"] = float64(m.Bytes) / 1e6 / m.Took.Seconds()
			run.values["machine"] = run.used.machine.Seconds() * 1e9 / float64(m.Bytes)
			if run.pid != 0 {
				run.values["governor"] = run.used.governor.Seconds() * 1e9 / float64(m.Bytes)
			}
			return r.within(ctx, run)
		})
	}
}

func iperf(gso bool) func(context.Context, *rig, *running) error {
	return func(ctx context.Context, r *rig, run *running) error {
		return r.segmented(gso, func() (err error) {
			program := lab.Program{Path: "usr/bin/iperf3"}
			there, err := launch(r.tools.Command(ctx, r.inet, program, "-s", "-1", "-p", "25"))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, there.stop(unix.SIGKILL)) }()
			// A connection to see whether it listens would be the one it waits for.
			if err := r.awaitListener(ctx); err != nil {
				return errors.Join(err, there.ended())
			}
			cmd := r.tools.Command(ctx, r.sub, program, "-c", server.Addr().String(), "-p", "25", "-P", "2", "-J", "-t", fmt.Sprint(max(1, int(r.opt.Sample.Seconds()+0.5))))
			done := watch(run.pid)
			text, err := cmd.Output()
			run.used = done()
			var said struct {
				Error string
				End   struct {
					Received struct {
						Rate float64 `json:"bits_per_second"`
					} `json:"sum_received"`
				}
			}
			if jerr := json.Unmarshal(text, &said); err != nil || jerr != nil || said.End.Received.Rate <= 0 {
				return fmt.Errorf("iperf3: %w: %s", errors.Join(err, jerr, errors.New("nothing was received")), said.Error)
			}
			run.values["rate"] = said.End.Received.Rate / 8e6
			return nil
		})
	}
}

// flooding starts a flood by so many bots.
func (r *rig) flooding(ctx context.Context, sources, rate int, long time.Duration) (*helper.Helper, error) {
	return helper.Start(ctx, r.sub, 0, "peers-flood", floodTask{Device: "eth0", Gateway: r.gateway, To: server, First: firstBot, Sources: sources,
		Rate: rate, Duration: long, Seed: uint64(time.Now().UnixNano())})
}

// attackRate is how many SYNs a second the one bot sends.
const attackRate = 60_000

func attack(ctx context.Context, r *rig, run *running) error {
	const ahead = 300 * time.Millisecond
	h, err := r.flooding(ctx, 1, attackRate, ahead+r.opt.Warm+r.opt.Sample+2*time.Second) // it is stopped before
	if err != nil {
		return err
	}
	err = wait(ctx, ahead)
	var opened, before, after float64
	if err == nil {
		before, err = r.fromBots(ctx)
	}
	began := time.Now()
	if err == nil {
		opened, _, err = r.window(ctx, run)
	}
	if err == nil {
		after, err = r.fromBots(ctx)
	}
	counted := time.Since(began)
	var f floodResult
	if err = errors.Join(err, h.Stop(&f)); err != nil {
		return err
	}
	if rate := float64(f.Sent) / f.Took.Seconds(); rate < attackRate/2 {
		run.note = fmt.Sprintf("the bot sent only %s SYNs a second", figures.Figure(rate))
	}
	run.values["rate"] = opened / run.used.took.Seconds()
	run.values["through"] = (after - before) / counted.Seconds()
	return nil
}

func cutFlood(ctx context.Context, r *rig, run *running) error {
	if run.governor != nil {
		if err := r.provoke(ctx, run); err != nil {
			return err
		}
	}
	in, err := received(r.Box, below)
	out, oerr := r.fromBots(ctx)
	if err = errors.Join(err, oerr); err != nil {
		return err
	}
	done := watch(run.pid)
	h, err := r.flooding(ctx, botCount, 0, r.opt.Sample)
	if err != nil {
		return err
	}
	var f floodResult
	if err := h.Result(&f); err != nil {
		return err
	}
	run.used = done()
	if err := wait(ctx, 200*time.Millisecond); err != nil { // what waits in a queue
		return err
	}
	offered, err := received(r.Box, below)
	forwarded, oerr := r.fromBots(ctx)
	if err = errors.Join(err, oerr); err != nil {
		return err
	}
	offered, forwarded = (offered-in)/f.Took.Seconds(), (forwarded-out)/f.Took.Seconds()
	run.values["offered"], run.values["forwarded"] = offered, forwarded
	if run.pid != 0 {
		run.values["governor"] = run.used.governor.Seconds() / run.used.took.Seconds()
	}
	switch {
	case run.governor != nil:
		run.values["rate"] = offered - forwarded
		if forwarded > 0 {
			run.note = fmt.Sprintf("%s packets a second of cut sources came through", figures.Figure(forwarded))
		}
	case run.drops:
		run.values["rate"] = offered
	default:
		run.values["rate"] = forwarded
	}
	return nil
}

// provoke has every bot cut: each sends more than its plan allows, and mailweir does the rest.
func (r *rig) provoke(ctx context.Context, run *running) error {
	const rate, long = 4000, 150 * time.Millisecond
	for range 20 {
		h, err := r.flooding(ctx, botCount, rate, long)
		if err != nil {
			return err
		}
		var f floodResult
		if err := h.Result(&f); err != nil {
			return err
		}
		n, err := r.cut(ctx, run)
		if err != nil {
			return err
		}
		if n == botCount {
			// The address of the last one follows into the kernel at its next attempt.
			h, err := r.flooding(ctx, botCount, rate, long)
			if err != nil {
				return err
			}
			return h.Result(&f)
		}
	}
	n, err := r.cut(ctx, run)
	return errors.Join(err, fmt.Errorf("only %d of %d bots were cut", n, botCount))
}

// awaitListener waits until somebody listens on port 25, without a connection.
func (r *rig) awaitListener(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		text, err := file(r.inet, "tcp")
		text6, err6 := file(r.inet, "tcp6") // a socket of both families
		if err = errors.Join(err, err6); err != nil {
			return err
		}
		if listens(text) || listens(text6) {
			return nil
		}
		if err := wait(ctx, 5*time.Millisecond); err != nil {
			return errors.New("nobody listens on port 25")
		}
	}
}
