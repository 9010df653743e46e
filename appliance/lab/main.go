package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// MainOptions are those of `mailweir lab`.
type MainOptions struct {
	Self string    // the mailweir binary that runs in the box
	Out  io.Writer // for people; redrawn in place if it is a terminal
	// Duration is how long the traffic runs; 0 means until the context ends.
	Duration time.Duration
	Cache    string // as Options.Cache
}

// walked is how long the bot needs for the whole ladder, with room: a lab that
// ran so long without a cut has failed.
const walked = 90 * time.Second

// Main is `mailweir lab`: it builds the network with everybody in it, runs
// mailweir in the box, shows what happens, and removes all of it when the
// context ends or the time is up. The error says what did not go as it must:
// mail of a subscriber within its budget that was lost, doubled or refused, or
// a bot that was not stopped.
func Main(ctx context.Context, o MainOptions) error {
	started := time.Now()
	d := newDisplay(o.Out)
	d.printf("mailweir lab: building the network and the mail servers (the first time this downloads Debian's Postfix and Exim)\n")
	l, err := Start(ctx, Options{Cache: o.Cache, Log: slog.New(slog.NewTextHandler(o.Out, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return err
	}
	err = l.demo(ctx, o, d, started)
	if cerr := l.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("remove the lab: %w", cerr))
	} else {
		d.printf("mailweir lab: removed, nothing is left behind\n")
	}
	return err
}

func (l *Lab) demo(ctx context.Context, o MainOptions, d *display, started time.Time) error {
	// What runs inside ends in order after ctx, not with it.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	startCtx, cancelStart := context.WithTimeout(ctx, 5*time.Minute)
	defer cancelStart()
	s, err := newScenario(startCtx, l)
	if err != nil {
		return quiet(ctx, err)
	}
	defer s.cancel()
	config := filepath.Join(l.Dir, "mailweir.yaml")
	if err := errors.Join(os.WriteFile(config, []byte(demoConfig), 0o600),
		os.WriteFile(filepath.Join(l.Dir, "subscribers.csv"), []byte(s.subscribersCSV()), 0o600)); err != nil {
		return err
	}
	g, err := l.Govern(startCtx, o.Self, config, filepath.Join(l.Dir, "data"))
	if err != nil {
		return quiet(ctx, err)
	}
	password := rand.Text()
	if err := g.Post(startCtx, "/api/v1/users", map[string]string{"name": "admin", "role": "admin", "password": password}); err != nil {
		return errors.Join(fmt.Errorf("make a user of the web admin: %w", err), g.Stop())
	}
	admin, err := l.Box.Proxy(inner, 8443, netip.MustParseAddrPort("127.0.0.1:8443"))
	if err != nil {
		return errors.Join(err, g.Stop())
	}
	d.header = fmt.Sprintf("mailweir lab   web admin: https://%s/   user: admin   password: %s\n"+
		"subscribers - [box: mailweir, pid %d] - internet: Postfix and Exim, each with STARTTLS and without, IPv4 and IPv6.   Ctrl-C ends it and removes everything.\n",
		admin, password, g.PID())
	d.printf("%sready after %.0f s\n", d.header, time.Since(started).Seconds())

	s.start()
	w := newWatch(s, g)
	err = w.run(ctx, o.Duration, d)
	d.printf("\nfinishing: running sessions and queues come to their end\n")
	finish, cancelFinish := context.WithTimeout(inner, 30*time.Second)
	defer cancelFinish()
	err = errors.Join(err, s.finish(finish), w.look(inner))
	return errors.Join(err, w.summary(d, time.Since(w.begin) >= walked), g.Stop())
}

// quiet drops the error of something that the end of ctx broke off: that is
// how a lab is meant to end.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// display prints for people: blocks below each other, or on a terminal the
// newest table in place of the one before.
type display struct {
	out    io.Writer
	tty    bool
	header string
}

func newDisplay(out io.Writer) *display {
	d := &display{out: out}
	if f, ok := out.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		d.tty = err == nil
	}
	return d
}

func (d *display) printf(format string, args ...any) { fmt.Fprintf(d.out, format, args...) }

// every is how often a table is shown: a log file needs fewer.
func (d *display) every() time.Duration {
	if d.tty {
		return time.Second
	}
	return 5 * time.Second
}

// table shows one; on a terminal it starts at the top of the screen, each line
// clears what was there to its end, and the last one the rest.
func (d *display) table(text string) {
	if !d.tty {
		d.printf("\n%s", text)
		return
	}
	b := []byte("\x1b[H")
	for _, c := range []byte(d.header + "\n" + text) {
		if c == '\n' {
			b = append(b, "\x1b[K"...)
		}
		b = append(b, c)
	}
	_, _ = d.out.Write(append(b, "\x1b[J"...))
}
