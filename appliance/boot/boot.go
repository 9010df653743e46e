// Package boot is process 1 of the image: the mailweir binary itself. It mounts, loads the kernel's modules, arms the watchdog, bridges the ports so that
// mail passes from the first second, opens the data partition, and then supervises children, which are the same binary again: `mailweir run`, which governs,
// or in its place who shows the recovery page, the keeper of the management port's addresses, that of the clock, and who serves the board's front. Nothing that fails here may end process 1 (the kernel would panic) or keep mail from passing: it is said
// on the console, and the next step is tried. If governing fails again and again the box goes into safe mode: the bridge stays, nothing is queued.
package boot

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/update"
	"github.com/mailweir/mailweir/image/layout"
)

const (
	dataDir    = "/data"
	stateDir   = dataDir + "/mailweir"
	ownConfig  = dataDir + "/mailweir.yaml"
	runDir     = "/run/mailweir"
	inMemory   = runDir + "/mailweir.yaml" // where the other cannot be written
	netCommand = "image-net"               // first argument of who keeps the management port's addresses; then come the port and the configuration

	governChild = "govern"
	runCommand  = "run" // of mailweir
)

// Reexec returns at once in an ordinary process. As process 1 of the image, or as one of its children that is no command of
// mailweir, it does the work of that and does not return.
func Reexec() {
	if len(os.Args) == 4 && os.Args[1] == netCommand {
		os.Exit(manage(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 3 && os.Args[1] == timeCommand {
		os.Exit(keepTime(os.Args[2]))
	}
	if len(os.Args) == 2 && os.Args[1] == stickCommand {
		os.Exit(sticks())
	}
	if len(os.Args) == 2 && os.Args[1] == panelCommand {
		os.Exit(servePanel())
	}
	if len(os.Args) == 3 && os.Args[1] == menuCommand {
		os.Exit(menuOn(os.Args[2]))
	}
	if len(os.Args) == 3 && os.Args[1] == recoveryCommand {
		os.Exit(showRecovery(os.Args[2]))
	}
	if os.Getpid() != 1 {
		return
	}
	text, err := os.ReadFile(layout.AboutFile)
	if err != nil {
		return // process 1 of a container
	}
	var a layout.About
	if err := json.Unmarshal(text, &a); err != nil {
		fmt.Fprintf(os.Stderr, "mailweir: %s: %v\n", layout.AboutFile, err)
	}
	guard(func() { (&box{about: a}).main() })
	// It panicked, and its text is on the console. What children there are go on for as long as that can be read; then the slot gets its next try, or
	// the other slot is taken.
	time.Sleep(10 * time.Second)
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		panic(err) // the kernel starts the box again: panic=10
	}
}

// guard runs f and survives its panic.
func guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "mailweir: process 1: panic: %v\n", p)
		}
	}()
	f()
}

// box is the machine as process 1 sees it.
type box struct {
	about   layout.About
	log     *slog.Logger
	console *console
	watch   *watchdog
	options map[string]string // of the kernel's command line
	ports   ports
	last    *shape            // of the ports, as the last start or the last life of the governing program left it; nil: it is not known
	macs    map[string]string // hardware addresses of the ports then; none: they are not known
	keeps   bool              // the disk keeps what the ports are
	update  *update.Box       // nil: it is not known where the slots are
}

func (b *box) main() {
	mounts := mountAll()
	b.console = openConsole()
	b.log = slog.New(slog.NewTextHandler(b.console, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for _, err := range mounts {
		b.log.Error("mount", "err", err)
	}
	b.options = commandLine(readString("/proc/cmdline"))
	b.console.say("mailweir %s for %s, slot %s", b.about.Version, b.about.Board, b.options[layout.OptionSlot])
	b.try("clock", func() error { return clockFloor(time.Unix(b.about.Built, 0), dataDir) })

	m := openModules(layout.Modules, insert)
	for _, err := range m.base() {
		b.log.Error("module", "err", err)
	}
	m.settle(b.log)
	b.watch = openWatchdog(watchdogDevice, b.log)

	b.try("host name", func() error { return unix.Sethostname([]byte("mailweir")) })
	for _, err := range sysctls(settings) {
		b.log.Error("setting", "err", err)
	}
	b.try("topology of the last start", func() error { return b.recall() })
	b.try("network", func() (err error) {
		b.ports, err = nameThem(b.macs, b.last.names())
		return errors.Join(err, cabled.SaveCards(b.ports.cards))
	})
	for _, one := range b.ports.cards.Text() {
		b.console.say("%s.", one)
	}
	b.announce()
	b.begin()
	b.console.say("%s", b.ports.with(shapeNow()))
	b.watch.pet()
	breakDown(b.about.Version)

	kept := true
	b.try("data partition", func() (err error) {
		done := b.watch.whileBusy()
		defer done()
		return openData(dataDir, b.options[layout.OptionESP], b.console, b.watch.pet, b.forget)
	}, func() {
		kept = false
		b.try("data in memory", func() error { return unix.Mount("tmpfs", dataDir, "tmpfs", 0, "size=64m,mode=700") })
	})
	if !kept {
		b.console.say("NOTHING IS KEPT: settings and history are in memory and gone with the next start. The data partition was left as it is.")
	}
	b.try("clock", func() error { return clockFloor(time.Unix(b.about.Built, 0), dataDir) })
	if !kept && b.last != nil && b.last.routed() {
		b.console.say("The box stays the router that it was: its addresses and routes are known from the last start.")
	}
	onTrial := false
	b.try("slots", func() (err error) { onTrial, err = b.slots(); return err })
	b.supervise(m, onTrial)
}

// try does one step. A failure is told and survived; then come the functions after it.
func (b *box) try(what string, f func() error, failed ...func()) {
	err := fmt.Errorf("it panicked")
	guard(func() { err = f() })
	if err != nil {
		b.log.Error(what, "err", err)
		for _, g := range failed {
			g()
		}
	}
}

// supervise keeps the children alive until a signal asks for a reboot.
func (b *box) supervise(m *modules, onTrial bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGINT, unix.SIGTERM, unix.SIGHUP) // SIGINT: Ctrl-Alt-Del
	b.try("Ctrl-Alt-Del", func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) })

	safe := b.whySafe(m)
	config := ownConfig
	b.try("configuration", func() error { return configure(ownConfig, b.ports, b.last) }, func() {
		if _, err := os.Stat(ownConfig); err != nil {
			config = inMemory
			b.try("configuration in memory", func() error { return configure(inMemory, b.ports, b.last) })
		}
	})
	b.try("topology", func() error { return b.reshape(config) })
	self, err := os.Executable()
	if err != nil {
		self = "/init"
	}
	// What governs says is kept apart, for the page that comes in its place.
	said := &console{out: []io.Writer{b.console, &logFile{path: governedFile}}}
	startGoverning, start := startProcess(self, said), startProcess(self, b.console)
	s := newSupervisor(func(argv []string) (int, error) {
		if argv[0] == runCommand {
			return startGoverning(argv)
		}
		return start(argv)
	}, b.log)
	s.reap()
	for _, name := range consoles() {
		s.add(&child{name: "console " + name, argv: []string{menuCommand, name}})
	}
	s.add(&child{name: "panel", argv: []string{panelCommand}})
	managed := b.ports.has(b.ports.management)
	if managed {
		s.add(&child{name: "net", argv: []string{netCommand, b.ports.management, config}})
		s.add(&child{name: "time", argv: []string{timeCommand, config}})
	}
	crashing := false
	if safe == nil && !onTrial { // a trial has a count of its own
		b.try("count of starts", func() (err error) { crashing, err = countStart(dataDir); return err })
	}
	g := b.newGoverning(ctx, s)
	guard(func() {
		g.children(config, managed)
		switch {
		case safe != nil:
			b.console.say("SAFE MODE: mail passes unjudged")
			g.stop(*safe)
		case crashing:
			b.console.say("SAFE MODE: %d starts in a row ended within %v. %s, mail passes unjudged. In %v, or at the next start, governing is tried again.", startsMost, lasting, passing(), safeTime)
			g.stopFor(ctx, safeTime, standstill{Why: fmt.Sprintf("The box went down %d times in a row within %v of governing: by a panic of its kernel, a hang that the watchdog ended, or a power cut.", startsMost, lasting), Again: true})
		default:
			g.begin()
		}
	})
	b.afterStart(ctx, config, m, s, onTrial)
	go guard(func() { b.watchPorts(ctx, s) })
	tick := time.NewTicker(watchdogPet)
	defer tick.Stop()
	saved := time.Now()
	for {
		select {
		case <-tick.C:
			if s.alive() { // takes the supervisor's lock: a supervisor that hangs bites
				b.watch.pet()
			}
			if time.Since(saved) > time.Hour {
				saved = time.Now()
				b.try("clock", func() error { return saveClock(dataDir) })
			}
		case sig := <-stop:
			if sig == unix.SIGHUP {
				guard(func() { g.look(os.Remove(againFile) == nil) })
			} else {
				b.end(s, readString(orderFile))
			}
		}
	}
}

// whySafe is why the box must not govern, or cannot, in this start; nil: it can. Of what trying again does not mend, that is not offered.
func (b *box) whySafe(m *modules) *standstill {
	if !b.ports.bridged() {
		b.console.say("SAFE MODE: there are not two ports to bridge, so there is nothing to govern")
		return &standstill{Why: "There are not two Ethernet ports to bridge, so there is nothing to govern. Ports are looked for when the box starts."}
	}
	if err := m.missing(needed); err != nil {
		b.log.Error("mail passes unjudged", "err", err)
		return &standstill{Why: "Modules of the kernel are missing, without which nothing can be governed: " + strings.ReplaceAll(err.Error(), "\n", "; ") + "."}
	}
	if b.options["mailweir.safe"] == "1" {
		return &standstill{Why: "The box was started so: mailweir.safe=1 stands on its kernel's command line.", Again: true}
	}
	if mute(b.about.Version) {
		return &standstill{Why: "This version governs nothing."}
	}
	return nil
}

// end stops all, and does what was ordered.
func (b *box) end(s *supervisor, what string) {
	b.console.say("stopping: %s", cmp.Or(what, orderRestart))
	s.stop(stopTime)
	b.try("clock", func() error { return saveClock(dataDir) })
	b.try("count of starts", func() error { return lasted(dataDir) })
	unix.Sync()
	b.try("unmount", func() error { return unix.Unmount(dataDir, 0) })
	if what == orderErase {
		b.try("factory reset", func() error {
			part, err := dataPartition()
			if err != nil {
				return err
			}
			return errors.Join(markErase(part), b.forget(readString(diskFile)))
		})
	}
	b.console.drain()
	b.watch.close()
	how := unix.LINUX_REBOOT_CMD_RESTART
	if what == orderPowerOff {
		how = unix.LINUX_REBOOT_CMD_POWER_OFF
		b.try("watchdog", b.watch.disarm)
	}
	b.try("end", func() error { return unix.Reboot(how) })
}

// commandLine are the words KEY=VALUE of the kernel's command line.
func commandLine(text string) map[string]string {
	m := map[string]string{}
	for _, w := range strings.Fields(text) {
		k, v, _ := strings.Cut(w, "=")
		m[k] = v
	}
	return m
}

// made begins a configuration that nobody has changed: with the sum of what comes after this line.
const made = "# Made by the box itself, and made anew at each start until something in it is changed: "

// configure writes what the box does until somebody says otherwise: observe, on the bridge, or, where there is no configuration, as the router that it was
// when that was lost. A configuration of the operator, which is any that was changed, stays, and so does a router of ours that these ports can be.
func configure(file string, p ports, last *shape) error {
	s := p.bridge()
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if last != nil && last.routed() && len(p.routable(*last)) == 0 {
			s = *last
		}
	case err != nil:
		return err
	case !untouched(text):
		return nil
	default:
		if c, err := config.Parse(file, text); err == nil && c.Network.Topology == config.Routed && len(p.routable(shapeOf(c.Network))) == 0 {
			return nil
		}
	}
	body := []byte(s.yaml())
	want := append([]byte(firstLine(body)), body...)
	if bytes.Equal(text, want) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return durable.Replace(file, want)
}

func firstLine(body []byte) string { return fmt.Sprintf("%s%x\n", made, sha256.Sum256(body)) }

// untouched tells whether text is as configure wrote it, for these ports or for others.
func untouched(text []byte) bool {
	head, body, ok := bytes.Cut(text, []byte("\n"))
	return ok && string(head)+"\n" == firstLine(body)
}

func readString(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
